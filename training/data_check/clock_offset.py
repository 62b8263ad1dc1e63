"""How far the camera's clock is from the GPS's: images should change most where the GPS says it was fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]

#: Seconds between images above which they say too little of speed, and that offsets are looked for within.
MAX_STEP, MAX_OFFSET = 1.0, 60.0
#: Seconds that are needed at least, and over which the GPS's speed is taken; m/s that it must vary.
_SHORTEST, _BASELINE, _VARIED = 120.0, 1.0, 0.5
#: What makes an offset certain: how far it stands out from those more than _APART seconds away, in their
#: standard deviations and above their best (Fisher's z); how clearly it beats none, in its own; the least
#: seconds told. Of 150 simulated drives of 3 minutes whose images had nothing to do with the speed none was
#: told an offset; where noise was 0.3 (0.6, 1) of what images differ, 97 % (84, 53) of true offsets were.
_APART, _STANDS_OUT, _ABOVE, _SIGMAS, _LEAST = 8.0, 4.0, 0.5, 2.0, 0.5


@dataclass(frozen=True)
class ClockOffset:
    """An estimate.

    Attributes:
        seconds: to add to the stamps of the images; positive where the camera's clock is behind.
        low: of the offsets that explain the images as well, within a standard deviation.
        high: likewise.
        correlation: between speed and visual change, with the offset; of ranks.
        without: the same without it.
        wrong: whether the clocks are certainly apart.
    """

    seconds: float
    low: float
    high: float
    correlation: float
    without: float
    wrong: bool

    def __str__(self) -> str:
        figures = (
            f"{self.seconds:+.1f} s, between {self.low:+.1f} and {self.high:+.1f}; "
            f"correlation {self.correlation:.2f}, without it {self.without:.2f}"
        )
        if self.wrong:
            return f"certain: {figures}"
        return f"none that can be told (best {figures})"


def clock_offset(stamps: NDArray[np.int64], change: Array, enu: Array) -> ClockOffset | None:
    """Estimate the offset of a drive, or return None where it is too short, too slow or too even to tell.

    Args:
        stamps: (N,) rising nanoseconds of the images.
        change: (N - 1,) how much each image differs from the one before it.
        enu: (N, 2) metres, where the GPS says they were taken.
    """
    begin, end = _longest(stamps)
    stamps, change, enu = stamps[begin:end], change[begin : end - 1], enu[begin:end]
    seconds = (stamps - stamps[:1]) / 1e9
    if len(seconds) < 3 or seconds[-1] < _SHORTEST:
        return None
    step = float(np.median(np.diff(seconds)))
    grid = np.arange(0.0, seconds[-1], step)
    seen = np.interp(grid, (seconds[1:] + seconds[:-1]) / 2, change)
    east, north = (
        np.interp(grid + _BASELINE / 2, seconds, axis) - np.interp(grid - _BASELINE / 2, seconds, axis)
        for axis in enu.T
    )
    speed = np.hypot(east, north) / _BASELINE
    if seen.std() == 0 or np.subtract(*np.percentile(speed, (90, 10))) < _VARIED:
        return None
    seen, driven = rankdata(seen), rankdata(speed)
    most = int(min(MAX_OFFSET, seconds[-1] / 3) / step)
    lags = np.arange(-most, most + 1)
    correlations = np.array([_correlation(seen, driven, lag) for lag in lags.tolist()])
    sharp = np.arctanh(np.clip(correlations, -0.999, 0.999))
    sigma = 1 / np.sqrt(max(_independent(seen, driven) - 3, 1.0))
    best = int(np.argmax(sharp))
    within = lags[sharp >= sharp[best] - sigma] * step
    found = float(lags[best] * step)
    others = sharp[np.abs(lags - lags[best]) * step > _APART]
    certain = sharp[best] > max(_STANDS_OUT * others.std(), others.max() + _ABOVE)
    apart = abs(found) >= _LEAST and sharp[best] - sharp[most] > _SIGMAS * sigma
    return ClockOffset(
        found,
        float(within.min()),
        float(within.max()),
        float(correlations[best]),
        float(correlations[most]),
        bool(certain and apart),
    )


def _longest(stamps: NDArray[np.int64]) -> tuple[int, int]:
    """Return where the longest stretch of images begins and ends that follow each other closely."""
    steps = np.diff(stamps)
    ends = np.concatenate([[0], np.flatnonzero((steps <= 0) | (steps > MAX_STEP * 1e9)) + 1, [len(stamps)]])
    longest = int(np.argmax(np.diff(ends)))
    return int(ends[longest]), int(ends[longest + 1])


def _correlation(seen: Array, driven: Array, lag: int) -> float:
    """Return the correlation of what was seen with what was driven so many steps later."""
    first = seen[max(0, -lag) : len(seen) - max(0, lag)]
    second = driven[max(0, lag) : len(driven) - max(0, -lag)]
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _independent(seen: Array, driven: Array) -> float:
    """Return how many independent values two series that each resemble themselves are worth (Bartlett)."""
    worth = 1.0
    for lag in range(1, len(seen) // 4):
        product = _correlation(seen, seen, lag) * _correlation(driven, driven, lag)
        if product <= 0.01:
            break
        worth += 2 * product
    return len(seen) / worth
