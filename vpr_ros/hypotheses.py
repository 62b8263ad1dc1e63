"""A search result to hypotheses: where the robot may be, how sure, and whether it is none of them.

What a similarity is worth depends on the map: in a corridor all places look alike. So a similarity counts
as its score (`PlaceMap.scores`), the number of standard deviations above that of unrelated places. Each
retrieved place weighs exp(score / temperature). The best of N unrelated places scores about sqrt(2 ln N);
"none of them" weighs as much as a place that is `none_margin` above that. Places near each other, and looking
the same way, make one hypothesis. training/calibrate.py fits these numbers to a drive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpr_ros.errors import InputError
from vpr_ros.geodesy import heading_to_yaw, mean_geodetic
from vpr_ros.place_map import PlaceMap

Array = NDArray[np.float64]

#: A hypothesis as other programs take it: metres in the map's local frame, WGS84 degrees, radians, m^2, and
#: the number of the most similar place behind it.
POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("latitude", "<f8"),
        ("longitude", "<f8"),
        ("yaw", "<f4"),
        ("var_east", "<f4"),
        ("cov_east_north", "<f4"),
        ("var_north", "<f4"),
        ("probability", "<f4"),
        ("place", "<u4"),
    ]
)

#: Views that differ by more than this, in radians, are not one place seen twice.
SAME_VIEW = math.pi / 2


@dataclass(frozen=True)
class Belief:
    """How similarities become probabilities and covariances; the defaults are not calibrated, and wide."""

    temperature: float = 1.0  # score over which a weight falls by e
    none_margin: float = 0.0  # score above the best unrelated place's at which a place is as likely as "none"
    cluster_radius: float = 15.0  # metres around the best place within which others support it
    view_std: float = 3.0  # metres by which places are recognised from beside where they were taken
    vertical_std: float = 5.0  # metres; the geotags' altitude is their worst axis
    yaw_std: float = 0.35  # radians by which a view recognised may be turned
    covariance_scale: float = 4.0  # times the horizontal covariance, the geotags' own apart

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            positive = value > 0 or name == "none_margin"
            if not (positive and math.isfinite(value)):
                raise InputError(f"{name} is {value}: expected a finite, positive number")


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """Where the robot may be.

    Attributes:
        enu: (3,) metres in the map's local frame.
        geodetic: (3,) WGS84 latitude, longitude (degrees), altitude (m).
        covariance: (3, 3) m^2, east-north-up, positive definite.
        yaw: radians, 0 = east, counter-clockwise; NaN where no place behind it has a heading.
        yaw_variance: rad^2; NaN likewise.
        probability: that the robot is there.
        places: numbers of the places behind it, the most similar first.
    """

    enu: Array
    geodetic: Array
    covariance: Array
    yaw: float
    yaw_variance: float
    probability: float
    places: tuple[int, ...]


@dataclass(frozen=True)
class Hypotheses:
    """All of a query's hypotheses, the most probable first; with `none` their probabilities sum to one."""

    ranked: Sequence[Hypothesis]
    none: float

    def points(self) -> NDArray[np.void]:
        """Return the (N,) hypotheses, ranked, as points of POINT."""
        return np.array([_point(hypothesis) for hypothesis in self.ranked], POINT)


def _point(of: Hypothesis) -> tuple[float, ...]:
    (east, shared, _), (_, north, _), _ = of.covariance.tolist()
    return (*of.enu, *of.geodetic[:2], of.yaw, east, shared, north, of.probability, of.places[0])


def gather(scores: Array, places: NDArray[np.int64], place_map: PlaceMap, belief: Belief) -> Hypotheses:
    """Turn the (k,) scores, falling, and place numbers of one query into hypotheses."""
    logits = np.append(scores, none_score(place_map, belief)) / belief.temperature
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    return rank(places, weights[:-1], place_map, belief)


def none_score(place_map: PlaceMap, belief: Belief) -> float:
    """Return the score at which a place is as likely as none of them."""
    return math.sqrt(2 * math.log(max(len(place_map), 2))) + belief.none_margin


def rank(places: NDArray[np.int64], weights: Array, place_map: PlaceMap, belief: Belief) -> Hypotheses:
    """Gather (N,) places, the most probable first, with their probabilities, into hypotheses.

    What the probabilities lack to one is that of "none of them".
    """
    enu = place_map.enu[places]
    latitude, longitude, altitude, heading = (
        place_map.places[column][places] for column in ("latitude", "longitude", "altitude", "heading")
    )
    yaw = heading_to_yaw(heading)
    groups = clusters(enu, yaw, belief.cluster_radius)
    belongs = np.zeros((len(groups), len(places)))
    for group, members in zip(belongs, groups, strict=True):
        group[members] = 1.0
    probabilities = belongs @ weights
    # a cluster far below the best one has weights that vanish: its shape is that of equal ones
    shares = np.where(probabilities[:, None] > 0, belongs * weights, belongs)
    shares /= shares.sum(axis=1, keepdims=True)
    means = shares @ enu
    altitude = np.where(np.isnan(altitude), place_map.datum.altitude, altitude)
    geodetic = mean_geodetic(shares, latitude, longitude, altitude)
    covariances = _covariances(shares, enu - enu[:1], place_map, belief)
    yaws, variances = _mean_yaws(yaw, shares, belief.yaw_std)
    ranked = [
        Hypothesis(
            enu=means[row],
            geodetic=geodetic[row],
            covariance=covariances[row],
            yaw=float(yaws[row]),
            yaw_variance=float(variances[row]),
            probability=float(probabilities[row]),
            places=tuple(places[groups[row]].tolist()),
        )
        for row in np.argsort(-probabilities, kind="stable").tolist()
    ]
    return Hypotheses(ranked, max(0.0, 1.0 - float(weights.sum())))


def _covariances(shares: Array, enu: Array, place_map: PlaceMap, belief: Belief) -> Array:
    """Return the (G, 3, 3) covariances of G groups of N places, given (G, N) shares that sum to one."""
    squares = (enu[:, :, None] * enu[:, None, :]).reshape(-1, 9)
    means = shares @ enu
    spread = (shares @ squares).reshape(-1, 3, 3) - means[:, :, None] * means[:, None, :]
    # spread of the places, distance to the next, and of the view itself; the geotags' error is the floor
    view = place_map.spacing**2 / 12 + belief.view_std**2
    covariances = belief.covariance_scale * (spread + np.diag([view, view, belief.vertical_std**2]))
    return np.asarray(covariances + place_map.geotag_std**2 * np.eye(3))


def _mean_yaws(yaw: Array, shares: Array, floor: float) -> tuple[Array, Array]:
    """Return (G,) circular means and variances, NaN where no yaw is known, given (G, N) shares."""
    known = ~np.isnan(yaw)
    told = shares @ known
    told[told <= 1e-9] = np.nan  # of what counts for nothing it would be the yaw of nothing
    resultant = shares @ np.where(known, np.exp(1j * np.where(known, yaw, 0.0)), 0)
    length = np.abs(resultant) / told
    # -2 ln R is the variance of the wrapped normal distribution of that resultant length
    variances = floor**2 - 2 * np.log(length.clip(1e-6, 1.0))
    return np.where(np.isnan(told), np.nan, np.angle(resultant)), variances


def with_lost(followed: Hypotheses, alone: Hypotheses, on_map: float, belief: Belief) -> Hypotheses:
    """Return what a filter follows, and of what it has lost what the image alone says.

    A robot that is lost may be anywhere on the map, with probability `on_map`: there each place is as likely
    as any other before the image is seen, which is what the hypotheses of an image alone assume.
    """
    share = followed.none * on_map
    ranked = list(followed.ranked)
    for found, same in zip(alone.ranked, _same(alone, followed, belief), strict=True):
        probability = share * found.probability
        if same is None:
            ranked.append(replace(found, probability=probability))
        else:
            ranked[same] = replace(ranked[same], probability=ranked[same].probability + probability)
    ranked.sort(key=lambda hypothesis: -hypothesis.probability)
    return Hypotheses(ranked, followed.none - share * (1 - alone.none))


def _same(alone: Hypotheses, followed: Hypotheses, belief: Belief) -> list[int | None]:
    """Return for each hypothesis the first of the others that agrees with it, or None."""
    if not followed.ranked:
        return [None] * len(alone.ranked)
    here, there = (np.array([(*each.enu[:2], each.yaw) for each in of.ranked]) for of in (alone, followed))
    apart = np.linalg.norm(here[:, None, :2] - there[None, :, :2], axis=2)
    agrees = (apart <= belief.cluster_radius) & ~turned(here[:, None, 2], there[None, :, 2])
    return [int(row.argmax()) if row.any() else None for row in agrees]


def agree(filtered: Hypothesis, single: Hypothesis, belief: Belief) -> bool:
    """Tell whether the image alone names the place that it is thought to be at with those before it.

    Right after a kidnapping, or where the map ends, a filter is sure of the old place for some images more.
    """
    apart = np.linalg.norm(filtered.enu[:2] - single.enu[:2])
    return bool(apart <= belief.cluster_radius and not turned(filtered.yaw, single.yaw))


def turned(yaw: ArrayLike, other: ArrayLike) -> NDArray[np.bool_]:
    """Tell which views are too far apart in direction to be one; False where either is unknown."""
    return np.asarray(np.cos(np.subtract(yaw, other)) < math.cos(SAME_VIEW))


def clusters(enu: Array, yaw: Array, radius: float) -> list[NDArray[np.intp]]:
    """Return groups of rows, each around its best row; a chain of places along a road does not grow one."""
    position = enu[:, 0] + 1j * enu[:, 1]
    free = np.ones(len(enu), bool)
    groups = []
    for best in range(len(enu)):
        if free[best]:
            near = np.abs(position - position[best]) <= radius
            group = np.flatnonzero(free & near & ~turned(yaw, yaw[best]))
            free[group] = False
            groups.append(group)
    return groups
