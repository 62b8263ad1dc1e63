"""Whether probabilities and ellipses mean what they say: calibration, precision and recall, coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BINS = 10


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall where everything from a threshold upwards is accepted; thresholds fall.

    Attributes:
        threshold: (M,) the distinct scores.
        precision: (M,) share of what is accepted that is right.
        recall: (M,) share of what could be found that is accepted and right.
    """

    threshold: Array
    precision: Array
    recall: Array


def precision_recall(score: ArrayLike, right: ArrayLike, findable: ArrayLike, total: int) -> Curve:
    """Return the curve over (N,) scores.

    Args:
        score: (N,) of each answer.
        right: (N,) whether it is right.
        findable: (N,) whether its frame is among the `total`; a right answer elsewhere adds no recall.
        total: frames that could be found, those without an answer included.
    """
    scores = np.asarray(score, np.float64)
    hit = np.asarray(right, bool)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores are accepted together
    accepted = np.cumsum(hit[order])[last]
    found = np.cumsum((hit & np.asarray(findable, bool))[order])[last]
    return Curve(scores[order][last], accepted / (last + 1), found / max(total, 1))


def recall_at_precision(curve: Curve, precision: float) -> tuple[float, float | None]:
    """Return the highest recall at this precision or more, and its threshold; (0, None) where none has it."""
    enough = np.flatnonzero(curve.precision >= precision)
    if not len(enough):
        return 0.0, None
    best = enough[np.argmax(curve.recall[enough])]
    return float(curve.recall[best]), float(curve.threshold[best])


@dataclass(frozen=True)
class Bin:
    """Answers of nearly one probability: how many, their mean probability, the share that is right."""

    count: int
    probability: float
    right: float


def reliability_bins(probability: ArrayLike, right: ArrayLike, bins: int = BINS) -> list[Bin]:
    """Return bins of equal mass, from the lowest probability to the highest; fewer for fewer answers.

    Args:
        probability: (N,) said.
        right: (N,) whether it was so.
        bins: at most.
    """
    said = np.asarray(probability, np.float64)
    _, same, count = np.unique(said, return_inverse=True, return_counts=True)
    # answers of one probability may lie in two bins: each stands for all of them
    share = (np.bincount(same, np.asarray(right, np.float64)) / count)[same]
    order = np.argsort(said)
    return [
        Bin(len(part), float(said[part].mean()), float(share[part].mean()))
        for part in np.array_split(order, min(bins, max(len(order), 1)))
        if len(part)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error (ECE): the mean distance of share from probability."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.right - each.probability) for each in bins) / total if total else None


def squared_sigmas(error: ArrayLike, covariance: ArrayLike) -> Array:
    """Return (N,) squared Mahalanobis distances e' C^-1 e of (N, 2) errors under (N, 2, 2) covariances.

    Infinite under a covariance that is none; NaN where either is not known.
    """
    east, north = np.moveaxis(np.asarray(error, np.float64), -1, 0)
    (a, b), (_, c) = np.moveaxis(np.asarray(covariance, np.float64), (-2, -1), (0, 1))
    determinant = a * c - b * b
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = (c * east**2 - 2 * b * east * north + a * north**2) / determinant
    unknown = np.isnan(east + north + determinant)
    return np.where(unknown, np.nan, np.where((determinant > 0) & (a > 0), squared, np.inf))


def inside(squared: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Return which (N,) squared Mahalanobis distances lie in the ellipse of this probability, in 2-D."""
    return np.asarray(squared, np.float64) <= ellipse_scale(level) ** 2


def ellipse_scale(level: float) -> float:
    """Return the standard deviations from centre to edge of the ellipse that holds this share, in 2-D."""
    return float(np.sqrt(-2.0 * np.log1p(-level)))  # the chi-square quantile of two degrees of freedom
