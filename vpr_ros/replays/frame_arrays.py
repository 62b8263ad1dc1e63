"""The answers of a drive as arrays, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpr_ros.metrics import RIGHT_M
from vpr_ros.replays.answers import KEPT, FrameAnswer
from vpr_ros.replays.reliability import squared_sigmas

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FrameArrays:
    """N frames by stamp; NaN where nothing is known.

    Attributes:
        answers: they themselves, in this order.
        seconds: (N,) since the first frame.
        answered: (N,) whether there is an answer.
        known: (N,) whether there is a truth.
        mapped: (N,) whether the truth lies within RIGHT_M of a place of the map.
        truth: (N, 2) WGS84 latitude and longitude, degrees.
        position: (N, 2) of the best hypothesis, likewise.
        error: (N,) metres from the truth to the best hypothesis.
        right: (N,) whether that is at most RIGHT_M.
        accepted: (N,) whether it was published as a fix.
        probability: (N,) of the best hypothesis.
        squared_sigmas: (N,) squared Mahalanobis distance of the truth under the best hypothesis.
        place_m: (N, KEPT) metres from the truth to the retrieved places; infinite where there are fewer.
        latency: (N,) seconds.
    """

    answers: Sequence[FrameAnswer]
    seconds: Array
    answered: Mask
    known: Mask
    mapped: Mask
    truth: Array
    position: Array
    error: Array
    right: Mask
    accepted: Mask
    probability: Array
    squared_sigmas: Array
    place_m: Array
    latency: Array

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def judged(self) -> Mask:
        """Which frames have an answer with a probability, and a truth to hold it against."""
        judged: Mask = self.answered & self.known & ~np.isnan(self.probability)
        return judged

    def found(self, n: int, radius: float = RIGHT_M) -> Mask:
        """Return which of the frames have one of their first `n` places within `radius` metres."""
        return np.asarray((self.place_m[:, :n] <= radius).any(axis=1), bool)

    def select(self, which: ArrayLike) -> FrameArrays:
        """Return the frames of these numbers."""
        return as_arrays([self.answers[number] for number in np.asarray(which, np.intp)])


def as_arrays(answers: Iterable[FrameAnswer]) -> FrameArrays:
    """Return the answers as arrays."""
    lines = sorted(answers, key=lambda answer: answer.stamp)
    mapped_m = _column(lines, "mapped_m")
    east, north = _column(lines, "error_east"), _column(lines, "error_north")
    error = np.hypot(east, north)
    places = np.full((len(lines), KEPT), np.inf)
    for frame, line in enumerate(lines):
        metres = line.place_m[:KEPT]
        places[frame, : len(metres)] = metres
    shared = _column(lines, "cov_east_north")
    covariance = np.array([[_column(lines, "var_east"), shared], [shared, _column(lines, "var_north")]])
    stamps = [line.stamp for line in lines]
    return FrameArrays(
        answers=lines,
        seconds=np.array([(stamp - stamps[0]) / 1e9 for stamp in stamps], np.float64),
        answered=np.array([line.answered for line in lines], bool),
        known=~np.isnan(mapped_m),
        mapped=mapped_m <= RIGHT_M,
        truth=np.stack([_column(lines, "true_latitude"), _column(lines, "true_longitude")], axis=1),
        position=np.stack([_column(lines, "latitude"), _column(lines, "longitude")], axis=1),
        error=error,
        right=error <= RIGHT_M,
        accepted=np.array([line.accepted for line in lines], bool),
        probability=_column(lines, "probability"),
        squared_sigmas=squared_sigmas(np.stack([east, north], axis=1), np.moveaxis(covariance, -1, 0)),
        place_m=np.where(np.isnan(places), np.inf, places),
        latency=_column(lines, "latency"),
    )


def _column(lines: Sequence[FrameAnswer], name: str) -> Array:
    return np.array([getattr(line, name) for line in lines], np.float64)
