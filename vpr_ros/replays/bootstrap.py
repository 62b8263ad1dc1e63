"""Confidence intervals from one drive, by bootstrap over its stretches.

Consecutive frames show nearly the same: drawn one by one, they promise intervals several times too narrow. So
whole stretches of consecutive frames are drawn with replacement: the circular block bootstrap (Politis and
Romano, 1992), in which a stretch may begin at any frame and the drive's end is followed by its start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
#: [low, high] of 95 % confidence; None where nothing can be said.
Interval = list[float] | None

#: Seconds of a stretch; of a shorter drive, as many stretches of equal length.
STRETCH_S, STRETCHES = 20.0, 10
DRAWS, SEED = 1000, 0
#: Percentiles between which 95 % of the draws lie.
ENDS = (2.5, 97.5)
#: Counts of frames that are held at a time.
BLOCK = 4_000_000


def stretch_length(seconds: ArrayLike) -> int:
    """Return the frames in a stretch of STRETCH_S, or fewer, so that the drive has at least STRETCHES.

    Args:
        seconds: (N,) times of the frames, rising.
    """
    times = np.asarray(seconds, np.float64)
    steps = np.diff(times)
    typical = float(np.median(steps)) if len(steps) else 0.0
    wanted = round(STRETCH_S / typical) if typical > 0 else len(times)
    return max(1, min(wanted, len(times) // STRETCHES))


@dataclass(frozen=True, eq=False)
class Stretches:
    """DRAWS drives put together from stretches of one; the same each time.

    Attributes:
        frames: N of the drive.
        length: frames in a stretch.
        starts: (DRAWS, ceil(N / length)) first frames of the stretches.
    """

    frames: int
    length: int
    starts: NDArray[np.int64]

    def ratio(self, values: ArrayLike, of: ArrayLike) -> Interval:
        """Return the interval of the sum of (N,) `values` over the sum of (N,) `of`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.interval(self._sums(values) / self._sums(of))

    def share(self, hits: ArrayLike, of: ArrayLike) -> Interval:
        """Return the interval of the share of the frames `of` that are `hits`, both (N,) booleans.

        Where all of them agree, all draws do too. Then the interval is the exact one (Clopper-Pearson) of as
        many independent trials as there are stretches with such frames.
        """
        chosen = np.asarray(of, bool)
        hit = np.asarray(hits, bool)[chosen]
        if hit.size and (hit.all() or not hit.any()) and self.frames >= STRETCHES:
            trials = len(np.unique(np.flatnonzero(chosen) // self.length))
            bound = (ENDS[0] / 100) ** (1 / trials)
            return [bound, 1.0] if hit.all() else [0.0, 1 - bound]
        counted = np.zeros(self.frames)
        counted[chosen] = hit
        return self.ratio(counted, chosen)

    def percentile(self, values: ArrayLike, which: float) -> Interval:
        """Return the interval of a percentile of (N,) values; NaN is left out."""
        return self.interval(self.percentiles(values, which))

    def percentiles(self, values: ArrayLike, which: float) -> Array:
        """Return (DRAWS,) percentiles, each the smallest value that so many do not exceed; NaN of none."""
        values = np.asarray(values, np.float64)
        order = np.argsort(values)[: int(np.isfinite(values).sum())]
        if not len(order):
            return np.full(len(self.starts), np.nan)
        drawn = []
        for counts in self._counts():
            below = np.cumsum(counts[:, order], axis=1, dtype=np.int32)
            total = below[:, -1]
            reached = below >= np.maximum(1, np.ceil(total * which / 100))[:, None]
            drawn.append(np.where(total > 0, values[order][reached.argmax(axis=1)], np.nan))
        return np.concatenate(drawn)

    def interval(self, draws: Array) -> Interval:
        """Return the interval of a figure from its (DRAWS,) values; None for a drive of a few frames."""
        known = draws[np.isfinite(draws)]
        if self.frames < STRETCHES or not len(known):
            return None
        ends: list[float] = np.percentile(known, ENDS).tolist()
        return ends

    def _sums(self, values: ArrayLike) -> Array:
        """Return (DRAWS,) sums of (N,) values."""
        values = np.asarray(values, np.float64)
        running = np.cumsum(np.concatenate([[0.0], values, values[: self.length - 1]]))
        stretches = running[self.length :] - running[: -self.length]
        sums: Array = stretches[self.starts].sum(axis=1)
        return sums

    def _counts(self) -> Iterator[NDArray[np.int32]]:
        """Yield how often each frame was drawn, (some of the draws, N)."""
        pieces = math.ceil(len(self.starts) * self.frames / BLOCK)
        width = self.frames + self.length
        for starts in np.array_split(self.starts, pieces):
            rows = np.arange(len(starts))[:, None] * width
            begun = np.bincount((rows + starts).ravel(), minlength=len(starts) * width)
            ended = np.bincount((rows + starts + self.length).ravel(), minlength=len(starts) * width)
            drawn = np.cumsum((begun - ended).reshape(len(starts), width), axis=1, dtype=np.int32)
            drawn[:, : self.length] += drawn[:, self.frames :]  # past the end is the start again
            yield drawn[:, : self.frames]


def draw_stretches(seconds: ArrayLike) -> Stretches:
    """Draw the stretches of a drive with frames at these (N,) rising times, in seconds."""
    frames, length = len(np.asarray(seconds)), stretch_length(seconds)
    shape = (DRAWS, math.ceil(frames / length))
    return Stretches(frames, length, np.random.default_rng(SEED).integers(0, max(frames, 1), shape, np.int64))
