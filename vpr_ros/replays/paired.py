"""Two runs over the same frames: what differs, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.replays.bootstrap import Interval, Stretches, draw_stretches
from vpr_ros.replays.drive_metrics import NS
from vpr_ros.replays.frame_arrays import FrameArrays, Mask

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A figure of both runs over their common frames, and the second less the first.

    Attributes:
        words: what the figure is.
        unit: % or m; shares are from 0 to 1.
        first: the first run's; None where there is nothing to measure, as are the next two.
        second: the second run's.
        change: second less first.
        interval: of the change, 95 % confidence, from the same stretches of both.
    """

    words: str
    unit: str
    first: float | None
    second: float | None
    change: float | None
    interval: Interval

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


def common_frames(first: FrameArrays, second: FrameArrays) -> tuple[FrameArrays, FrameArrays]:
    """Return the frames of both whose stamps are in the other, in the same order."""
    stamps = [np.array([answer.stamp for answer in frames.answers], np.int64) for frames in (first, second)]
    _, here, there = np.intersect1d(stamps[0], stamps[1], return_indices=True)
    return first.select(here), second.select(there)


def differences(first: FrameArrays, second: FrameArrays) -> list[Difference]:
    """Return the differences between two runs over the same N frames.

    Shares are of the frames that are on the map of both; of accepted, of all frames.
    """
    drawn = draw_stretches(first.seconds)
    mapped = first.mapped & second.mapped
    rows = [_share(f"recall@{n} within 25 m", drawn, first.found(n), second.found(n), mapped) for n in NS]
    everything = np.ones(len(first), bool)
    rows += [
        _share("best hypothesis within 25 m", drawn, first.right, second.right, mapped),
        _share("frames accepted as fixes", drawn, first.accepted, second.accepted, everything),
        _share(
            "frames with a right fix",
            drawn,
            first.accepted & first.right,
            second.accepted & second.right,
            mapped,
        ),
        _share(
            "frames with a wrong fix",
            drawn,
            first.accepted & first.known & ~first.right,
            second.accepted & second.known & ~second.right,
            first.known & second.known,
        ),
    ]
    both = mapped & ~np.isnan(first.error) & ~np.isnan(second.error)
    for which, words in ((50, "median"), (95, "95th percentile")):
        metres = [np.where(both, frames.error, np.nan) for frames in (first, second)]
        rows.append(_percentile(f"error of the best hypothesis, {words}", drawn, metres[0], metres[1], which))
    return rows


def changed_sides(first: FrameArrays, second: FrameArrays) -> Mapping[str, list[int]]:
    """Return the numbers of the mapped frames that are right in one run alone: `gained` and `lost`."""
    mapped = first.mapped & second.mapped
    return {
        "gained": np.flatnonzero(mapped & second.right & ~first.right).tolist(),
        "lost": np.flatnonzero(mapped & first.right & ~second.right).tolist(),
    }


def _share(words: str, drawn: Stretches, first: Mask, second: Mask, of: Mask) -> Difference:
    if not of.any():
        return Difference(words, "%", None, None, None, None)
    shares = float(first[of].mean()), float(second[of].mean())
    change = np.where(of, second.astype(float) - first, 0.0)
    return Difference(words, "%", *shares, shares[1] - shares[0], drawn.ratio(change, of))


def _percentile(words: str, drawn: Stretches, first: Array, second: Array, which: int) -> Difference:
    if np.isnan(first).all():
        return Difference(words, "m", None, None, None, None)
    values = float(np.nanpercentile(first, which)), float(np.nanpercentile(second, which))
    change = drawn.percentiles(second, which) - drawn.percentiles(first, which)
    return Difference(words, "m", *values, values[1] - values[0], drawn.interval(change))
