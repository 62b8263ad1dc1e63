"""How well a drive was localised, from its answers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.metrics import RIGHT_M, percentiles
from vpr_ros.replays.answers import FrameAnswer
from vpr_ros.replays.bootstrap import DRAWS, Stretches, draw_stretches
from vpr_ros.replays.frame_arrays import FrameArrays, Mask, as_arrays
from vpr_ros.replays.reliability import (
    Curve,
    calibration_error,
    inside,
    precision_recall,
    recall_at_precision,
    reliability_bins,
)
from vpr_ros.replays.time_to_localise import Wait, waits

NS = (1, 5, 10)
RADII = (5.0, 10.0, RIGHT_M)
#: Probabilities of the ellipses whose coverage is measured.
LEVELS = (0.50, 0.90, 0.95, 0.99)
PRECISION = 0.99

#: What makes a share, or its interval, of the frames that are hits and of those that count.
Share = Callable[[Mask, Mask], Any]


def summarise(answers: Sequence[FrameAnswer]) -> dict[str, Any]:
    """Return the figures of a drive, ready for JSON; None where there is nothing to measure.

    A frame is mapped where its truth lies within 25 m of a place of the map, and an answer right where its
    best hypothesis lies within 25 m of the truth.

    - `frames`: `in`, `answered`, `unanswered` (a count for each reason), `mapped`, `unmapped`,
      `without_truth`, `seconds` from first to last.
    - `answered_share`: of the frames in.
    - `recall`: `5m`, `10m`, `25m`, of each `recall@1`, `recall@5`, `recall@10`: the share of the mapped
      frames with one of the first N hypotheses on a place within that radius; a frame without an answer has
      none.
    - `error_m`: `p50`, `p95` of the best hypotheses of mapped frames.
    - `accepted`: `count`; `share` of the frames in; of those with truth `with_truth`, `wrong`, `wrong_share`,
      `precision` and `error_m`; on unmapped frames `unmapped` and `unmapped_share`, of those frames.
    - `precision_recall`: accepting by the best hypothesis's probability, the `recall_at_99_precision` (the
      share of the mapped frames accepted and right) and its `threshold`.
    - `calibration`: `error` (expected calibration error) of the best hypotheses' probability, and `bins` of
      equal mass with `count`, `probability` and `right`.
    - `coverage`: `right` and `accepted`, of each the share of errors inside the ellipse of 50, 90, 95 and
      99 % for right best hypotheses and for accepted fixes.
    - `time_to_localise`: `start_s`, `kidnapped` (`at_s` and `seconds` of each), `kidnapped_longest_s`; None
      where no right fix came before the next kidnapping.
    - `latency_ms`: `total` and `stages`, p50, p95 and p99 of each.
    - `intervals`: [low, high] of 95 % confidence, nested as the figures, of recall, errors' p50, shares of
      accepted, precision and coverage.
    - `stretches`: that the intervals rest on: `frames` in each, `seconds` of each and `draws`.
    """
    frames = as_arrays(answers)
    drawn = draw_stretches(frames.seconds)
    figures: dict[str, Any] = {
        "frames": _counts(frames),
        "answered_share": _share(frames.answered, _everything(frames)),
        "recall": _recalls(frames, _share),
        "error_m": percentiles(_errors(frames, frames.mapped), (50, 95)),
        "accepted": _accepted(frames),
        "precision_recall": _at_precision(frames),
        "calibration": _calibration(frames),
        "coverage": _coverages(frames, _share),
        "time_to_localise": _time_to_localise(waits(frames)),
        "latency_ms": _latencies(frames),
        "intervals": _intervals(frames, drawn),
        "stretches": {
            "frames": drawn.length,
            "seconds": drawn.length * float(np.median(np.diff(frames.seconds))) if len(frames) > 1 else 0.0,
            "draws": DRAWS,
        },
    }
    return figures


def probability_curve(frames: FrameArrays) -> Curve:
    """Return precision and recall of accepting by the best hypothesis's probability."""
    judged = frames.judged
    return precision_recall(
        frames.probability[judged], frames.right[judged], frames.mapped[judged], int(frames.mapped.sum())
    )


def _everything(frames: FrameArrays) -> Mask:
    return np.ones(len(frames), bool)


def _share(hits: Mask, of: Mask) -> float | None:
    return float(hits[of].mean()) if of.any() else None


def _errors(frames: FrameArrays, of: Mask) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = frames.error[of & ~np.isnan(frames.error)]
    return errors


def _counts(frames: FrameArrays) -> dict[str, Any]:
    reasons = Counter(answer.reason for answer in frames.answers if not answer.answered)
    return {
        "in": len(frames),
        "answered": int(frames.answered.sum()),
        "unanswered": dict(reasons.most_common()),
        "mapped": int(frames.mapped.sum()),
        "unmapped": int((frames.known & ~frames.mapped).sum()),
        "without_truth": int((~frames.known).sum()),
        "seconds": float(frames.seconds[-1]) if len(frames) else 0.0,
    }


def _recalls(frames: FrameArrays, share: Share) -> dict[str, dict[str, Any]]:
    return {
        f"{radius:g}m": {f"recall@{n}": share(frames.found(n, radius), frames.mapped) for n in NS}
        for radius in RADII
    }


def _accepted(frames: FrameArrays) -> dict[str, Any]:
    judged = frames.accepted & frames.known
    unmapped = frames.known & ~frames.mapped
    return {
        "count": int(frames.accepted.sum()),
        "share": _share(frames.accepted, _everything(frames)),
        "with_truth": int(judged.sum()),
        "wrong": int((judged & ~frames.right).sum()),
        "wrong_share": _share(~frames.right, judged),
        "precision": _share(frames.right, judged),
        "error_m": percentiles(_errors(frames, judged), (50, 95)),
        "unmapped": int((frames.accepted & unmapped).sum()),
        "unmapped_share": _share(frames.accepted, unmapped),
    }


def _at_precision(frames: FrameArrays) -> dict[str, float | None]:
    if not frames.mapped.any():
        return {"recall_at_99_precision": None, "threshold": None}
    recall, threshold = recall_at_precision(probability_curve(frames), PRECISION)
    return {"recall_at_99_precision": recall, "threshold": threshold}


def _calibration(frames: FrameArrays) -> dict[str, Any]:
    bins = reliability_bins(frames.probability[frames.judged], frames.right[frames.judged])
    return {"error": calibration_error(bins), "bins": [asdict(each) for each in bins]}


def _coverages(frames: FrameArrays, share: Share) -> dict[str, dict[str, Any]]:
    known = ~np.isnan(frames.squared_sigmas)
    return {
        name: {f"{level:.0%}": share(inside(frames.squared_sigmas, level), of & known) for level in LEVELS}
        for name, of in (("right", frames.right), ("accepted", frames.accepted))
    }


def _time_to_localise(found: Sequence[Wait]) -> dict[str, Any]:
    kidnapped = [asdict(wait) for wait in found[1:]]
    seconds = [wait.seconds for wait in found[1:] if wait.seconds is not None]
    return {
        "start_s": found[0].seconds if found else None,
        "kidnapped": kidnapped,
        "kidnapped_longest_s": max(seconds) if seconds and len(seconds) == len(kidnapped) else None,
    }


def _latencies(frames: FrameArrays) -> dict[str, Any]:
    names = dict.fromkeys(stage for answer in frames.answers for stage in answer.stages)
    return {
        "total": _milliseconds(frames.latency),
        "stages": {
            name: _milliseconds(np.array([answer.stages.get(name, np.nan) for answer in frames.answers]))
            for name in names
        },
    }


def _milliseconds(seconds: NDArray[np.float64]) -> dict[str, float | None]:
    return percentiles(1e3 * seconds[~np.isnan(seconds)])


def _intervals(frames: FrameArrays, drawn: Stretches) -> dict[str, Any]:
    judged = frames.accepted & frames.known
    return {
        "answered_share": drawn.share(frames.answered, _everything(frames)),
        "recall": _recalls(frames, drawn.share),
        "error_m": {"p50": drawn.percentile(np.where(frames.mapped, frames.error, np.nan), 50)},
        "accepted": {
            "share": drawn.share(frames.accepted, _everything(frames)),
            "precision": drawn.share(frames.right, judged),
            "error_m": {"p50": drawn.percentile(np.where(judged, frames.error, np.nan), 50)},
            "unmapped_share": drawn.share(frames.accepted, frames.known & ~frames.mapped),
        },
        "coverage": _coverages(frames, drawn.share),
    }


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as lines to print."""
    frames, accepted, latency = figures["frames"], figures["accepted"], figures["latency_ms"]["total"]
    lines = [f"{'':<28}{'@1':>8}{'@5':>8}{'@10':>8}"]
    for radius, recall in figures["recall"].items():
        lines.append(f"{'recall within ' + radius:<28}" + "".join(_number(v, 3) for v in recall.values()))
    lines.append(f"{'':<28}{'p50':>8}{'p95':>8}{'p99':>8}")
    for name, values in (
        ("error, best hypothesis, m", figures["error_m"]),
        ("error, accepted fixes, m", accepted["error_m"]),
        ("latency, ms", latency),
    ):
        lines.append(f"{name:<28}" + "".join(_number(v, 2) for v in values.values()))
    dropped = frames["in"] - frames["answered"]
    lines += [
        f"frames: {frames['in']} in, {frames['answered']} answered, {dropped} without an answer",
        f"        {frames['mapped']} on the map, {frames['unmapped']} beyond it, "
        f"{frames['without_truth']} without truth",
        f"fixes:  {accepted['share'] or 0:.1%} of frames accepted; of these {accepted['wrong']} wrong "
        f"by more than 25 m, {accepted['unmapped']} beyond the map",
    ]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.{digits}f}"
