"""How well a replayed drive was localised: recall, metres, frames, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.geotagged import Rows, ground_distance, within_radius
from vpr_ros.metrics import has_positive, percentiles, recall_at

NS = (1, 5, 10)
RADII = (10.0, 25.0)


@dataclass(frozen=True)
class FrameAnswer:
    """What came back for one frame.

    Attributes:
        row: of the drive's table; None where the frame has no true geotag.
        places: for each hypothesis, ranked, the place it stands on.
        latitude: of the best hypothesis, WGS84 degrees.
        longitude: likewise.
        probability: likewise.
        accepted: whether it was published as a fix.
        latency: seconds from sending the frame to receiving the hypotheses.
    """

    row: int | None
    places: tuple[int, ...]
    latitude: float
    longitude: float
    probability: float
    accepted: bool
    latency: float


def with_truth(answers: Sequence[FrameAnswer]) -> tuple[list[FrameAnswer], NDArray[np.intp]]:
    """Return the answers to frames with a true geotag, and their rows of the drive's table."""
    known = [answer for answer in answers if answer.row is not None]
    return known, np.array([answer.row for answer in known], np.intp)


def errors(answers: Sequence[FrameAnswer], truth: Rows) -> NDArray[np.float64]:
    """Return metres on the ground between each answer's best hypothesis and its true row."""
    positions = [(answer.latitude, answer.longitude) for answer in answers]
    return ground_distance(np.array(positions, [("latitude", "f8"), ("longitude", "f8")]), truth)


def summarise(answers: Sequence[FrameAnswer], truth: Rows, places: Rows, sent: int) -> dict[str, Any]:
    """Return the figures of a drive.

    Recall counts the answered frames that were taken within 25 m of a place of the map: the first N
    hypotheses, each by the place it stands on. Frames elsewhere are counted as unmapped; an accepted answer
    there is always wrong.

    Args:
        answers: one for each frame that was answered.
        truth: the drive's table.
        places: the map's table.
        sent: frames in.
    """
    known, numbers = with_truth(answers)
    rows = truth[numbers]
    mapped = has_positive(within_radius(rows, places, max(RADII)))
    recall = {}
    for radius in RADII:
        positives = within_radius(rows[mapped], places, radius)
        retrieved = [np.asarray(answer.places) for answer, at in zip(known, mapped, strict=True) if at]
        recall[f"{radius:g}m"] = {
            f"recall@{n}": share for n, share in recall_at(retrieved, positives, NS).items()
        }
    metres = errors(known, rows)
    accepted = np.array([answer.accepted for answer in known], bool)
    return {
        "frames": {"in": sent, "answered": len(answers), "dropped": sent - len(answers)},
        "mapped": int(mapped.sum()),
        "unmapped": int((~mapped).sum()),
        "recall": recall,
        "error_m": percentiles(metres[mapped], (50, 95)),
        "accepted": {
            "share": float(accepted.mean()) if len(accepted) else None,
            "error_m": percentiles(metres[accepted], (50, 95)),
            "wrong_25m": int((metres[accepted] > max(RADII)).sum()),
            "unmapped": int((accepted & ~mapped).sum()),
        },
        "latency_ms": percentiles([1e3 * answer.latency for answer in answers]),
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as lines to print."""
    frames, accepted = figures["frames"], figures["accepted"]
    lines = [f"{'':<28}{'@1':>8}{'@5':>8}{'@10':>8}"]
    for radius, recall in figures["recall"].items():
        lines.append(f"{'recall within ' + radius:<28}" + "".join(_number(v, 3) for v in recall.values()))
    lines.append(f"{'':<28}{'p50':>8}{'p95':>8}{'p99':>8}")
    for name, values in (
        ("error, best hypothesis, m", figures["error_m"]),
        ("error, accepted fixes, m", accepted["error_m"]),
        ("latency, ms", figures["latency_ms"]),
    ):
        lines.append(f"{name:<28}" + "".join(_number(v, 2) for v in values.values()))
    lines += [
        f"frames: {frames['in']} in, {frames['answered']} answered, {frames['dropped']} dropped",
        f"        {figures['mapped']} on the map, {figures['unmapped']} beyond it",
        f"fixes:  {accepted['share'] or 0:.1%} of answers accepted; of these {accepted['wrong_25m']} wrong "
        f"by more than 25 m, {accepted['unmapped']} beyond the map",
    ]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.{digits}f}"
