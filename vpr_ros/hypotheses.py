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
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vpr_ros.clusters import members, turned
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Array
from vpr_ros.place_map import PlaceMap, Places

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


class Ranked(Sequence[Hypothesis]):
    """Hypotheses as the rows of one array: most of them are published, and never looked at one by one.

    Attributes:
        numbers: (G, 18): metres and geodetic (3 each), covariance (9), yaw, its variance, probability.
        places: of each.
    """

    ENU, GEODETIC, COVARIANCE = slice(0, 3), slice(3, 6), slice(6, 15)
    YAW, YAW_VARIANCE, PROBABILITY, WIDTH = 15, 16, 17, 18

    def __init__(self, numbers: Array, places: list[tuple[int, ...]]) -> None:
        self.numbers, self.places = numbers, places
        self._made: dict[int, Hypothesis] = {}

    @classmethod
    def of(cls, hypotheses: Sequence[Hypothesis]) -> Ranked:
        """Return any hypotheses as rows; those that are already as they are."""
        if isinstance(hypotheses, Ranked):
            return hypotheses
        rows = [
            (*each.enu, *each.geodetic, *each.covariance.flat, each.yaw, each.yaw_variance, each.probability)
            for each in hypotheses
        ]
        return cls(np.array(rows, np.float64).reshape(-1, cls.WIDTH), [each.places for each in hypotheses])

    @property
    def yaw(self) -> Array:
        """(G,) radians; NaN where unknown."""
        return self.numbers[:, self.YAW]

    @property
    def probability(self) -> Array:
        """(G,)."""
        return self.numbers[:, self.PROBABILITY]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, which: int) -> Hypothesis: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[Hypothesis]: ...
    def __getitem__(self, which: int | slice) -> Hypothesis | Sequence[Hypothesis]:
        if isinstance(which, slice):
            return [self[row] for row in range(*which.indices(len(self)))]
        row = range(len(self))[which]
        if row not in self._made:
            self._made[row] = self._make(row)
        return self._made[row]

    def _make(self, row: int) -> Hypothesis:
        numbers = self.numbers[row]
        yaw, yaw_variance, probability = numbers[self.YAW :].tolist()
        return Hypothesis(
            enu=numbers[self.ENU],
            geodetic=numbers[self.GEODETIC],
            covariance=numbers[self.COVARIANCE].reshape(3, 3),
            yaw=yaw,
            yaw_variance=yaw_variance,
            probability=probability,
            places=self.places[row],
        )


@dataclass(frozen=True)
class Hypotheses:
    """All of a query's hypotheses, the most probable first; with `none` their probabilities sum to one."""

    ranked: Sequence[Hypothesis]
    none: float

    def points(self) -> NDArray[np.void]:
        """Return the (N,) hypotheses, ranked, as points of POINT."""
        ranked = Ranked.of(self.ranked)
        points = np.empty(len(ranked), POINT)
        for name, column in _COLUMNS.items():
            points[name] = ranked.numbers[:, column]
        points["place"] = [places[0] for places in ranked.places]
        return points


#: Of a row of numbers, what the fields of POINT but the last take.
_COLUMNS = dict(zip(POINT.names or (), (0, 1, 2, 3, 4, 15, 6, 7, 10, 17), strict=False))


def gather(scores: Array, places: Places, place_map: PlaceMap, belief: Belief) -> Hypotheses:
    """Turn the (k,) scores, falling, and place numbers of one query into hypotheses."""
    return rank(places, weigh(scores, place_map, belief), place_map, belief)


def weigh(scores: Array, place_map: PlaceMap, belief: Belief) -> Array:
    """Return the (k,) probabilities of retrieved places; what they lack to one is that of "none of them"."""
    logits = np.empty(len(scores) + 1)
    logits[:-1], logits[-1] = scores, none_score(place_map, belief)
    logits /= belief.temperature
    weights: Array = np.exp(logits - logits.max())
    weights /= weights.sum()
    return weights[:-1]


def none_score(place_map: PlaceMap, belief: Belief) -> float:
    """Return the score at which a place is as likely as none of them."""
    return math.sqrt(2 * math.log(max(len(place_map), 2))) + belief.none_margin


def rank(places: Places, weights: Array, place_map: PlaceMap, belief: Belief) -> Hypotheses:
    """Gather (N,) places, the most probable first, with their probabilities, into hypotheses.

    What the probabilities lack to one is that of "none of them".
    """
    (hypotheses,) = rank_each([(places, weights)], place_map, belief)
    return hypotheses


def rank_each(
    candidates: Sequence[tuple[Places, Array]], place_map: PlaceMap, belief: Belief
) -> list[Hypotheses]:
    """Return what `rank` makes of each, all in one pass: each call costs more than what it computes."""
    places, weights = (np.concatenate(each) for each in zip(*candidates, strict=True))
    rows, enu, yaw = (each[places] for each in (place_map.places, place_map.enu, place_map.yaw))
    groups: list[list[int]] = []  # of rows of these
    owned = []  # which of the groups are of each
    first = 0
    for own, _ in candidates:
        here = slice(first, first + len(own))
        found = members(enu[here], yaw[here], belief.cluster_radius)
        owned.append(slice(len(groups), len(groups) + len(found)))
        groups += [[first + row for row in group] for group in found]
        first += len(own)
    numbers = _numbers(rows, enu, yaw, weights, groups, place_map, belief) if groups else _NOTHING
    names, ranked = places.tolist(), []
    for which, (_, probabilities) in zip(owned, candidates, strict=True):
        rows_of, their = groups[which], numbers[which]
        order = (-their[:, Ranked.PROBABILITY]).argsort(kind="stable")
        behind = [tuple([names[row] for row in rows_of[number]]) for number in order.tolist()]
        none = max(0.0, 1.0 - float(probabilities.sum()))
        ranked.append(Hypotheses(Ranked(their[order], behind), none))
    return ranked


_NOTHING = np.empty((0, Ranked.WIDTH))


def _numbers(
    rows: NDArray[np.void],
    enu: Array,
    yaw: Array,
    weights: Array,
    groups: list[list[int]],
    place_map: PlaceMap,
    belief: Belief,
) -> Array:
    """Return the (G, 18) numbers, as `Ranked` has them, of groups of (N,) places with probabilities."""
    count = len(rows)
    belongs = np.zeros((len(groups), count))
    belongs.put([number * count + row for number, group in enumerate(groups) for row in group], 1.0)
    probabilities = belongs @ weights
    # a cluster far below the best one has weights that vanish: its shape is that of equal ones
    shares = np.where(probabilities[:, None] > 0, belongs * weights, belongs)
    shares /= shares.sum(axis=1, keepdims=True)
    # the means of all that is to be averaged, in one product
    columns = np.empty((count, _MEANS))
    columns[:, Ranked.ENU] = enu
    columns[:, 3] = rows["latitude"]
    longitude, first = rows["longitude"], float(rows["longitude"][0])
    columns[:, 4] = (longitude - first + 180.0) % 360.0  # as geodesy.mean_geodetic has it
    columns[:, 5] = np.where(np.isnan(rows["altitude"]), place_map.datum.altitude, rows["altitude"])
    off = columns[:, _OFF]
    np.subtract(enu, enu[0], out=off)
    np.multiply(off[:, :, None], off[:, None, :], out=columns[:, _SQUARES].reshape(-1, 3, 3))
    known = yaw == yaw  # noqa: PLR0124  NaN is not
    angle = np.where(known, yaw, 0.0)
    columns[:, _KNOWN] = known
    np.multiply(np.cos(angle), known, out=columns[:, _EAST])
    np.multiply(np.sin(angle), known, out=columns[:, _NORTH])
    means = shares @ columns
    numbers = np.empty((len(groups), Ranked.WIDTH))
    numbers[:, :6] = means[:, :6]
    numbers[:, 4] = (means[:, 4] + first) % 360.0 - 180.0
    numbers[:, Ranked.COVARIANCE] = _covariances(means[:, _OFF], means[:, _SQUARES], place_map, belief)
    told, east, north = means[:, _KNOWN], means[:, _EAST], means[:, _NORTH]
    yaws = _mean_yaws(told, east, north, belief.yaw_std)
    numbers[:, Ranked.YAW], numbers[:, Ranked.YAW_VARIANCE] = yaws
    numbers[:, Ranked.PROBABILITY] = np.minimum(probabilities, 1.0)  # their sum may round to more
    return numbers


#: Columns of what means are taken of, after metres and geodetic: metres from the first place and their
#: products, whether the yaw is known, and the unit vector of that direction.
_OFF, _SQUARES, _KNOWN, _EAST, _NORTH, _MEANS = slice(6, 9), slice(9, 18), 18, 19, 20, 21


def _covariances(off: Array, squares: Array, place_map: PlaceMap, belief: Belief) -> Array:
    """Return the (G, 9) covariances of groups, given means of (G, 3) positions and (G, 9) their products."""
    spread = squares - (off[:, :, None] * off[:, None, :]).reshape(-1, 9)
    spread *= belief.covariance_scale
    spread += _least_covariance(place_map.spacing, place_map.geotag_std, belief)
    return spread


@lru_cache
def _least_covariance(spacing: float, geotag_std: float, belief: Belief) -> Array:
    """Return the (9,) covariance of one place: of the distance to the next, the view, and geotags."""
    view = spacing**2 / 12 + belief.view_std**2
    variances = belief.covariance_scale * np.array([view, view, belief.vertical_std**2]) + geotag_std**2
    return np.diag(variances).ravel()


def _mean_yaws(known: Array, east: Array, north: Array, floor: float) -> tuple[Array, Array]:
    """Return (G,) circular means and variances, NaN where no yaw is known.

    Args:
        known: (G,) shares of the places whose yaw is known.
        east: (G,) means of the cosines of the yaws, zero where they are not known.
        north: (G,) of the sines.
        floor: rad, of what one place tells.
    """
    told = np.where(known <= 1e-9, np.nan, known)  # of what counts for nothing it would be the yaw of nothing
    length = np.hypot(east, north) / told
    # -2 ln R is the variance of the wrapped normal distribution of that resultant length
    variances = floor**2 - 2 * np.log(np.minimum(np.maximum(length, 1e-6), 1.0))
    return np.where(told == told, np.arctan2(north, east), np.nan), variances  # noqa: PLR0124


def with_lost(followed: Hypotheses, alone: Hypotheses, on_map: float, belief: Belief) -> Hypotheses:
    """Return what a filter follows, and of what it has lost what the image alone says.

    A robot that is lost may be anywhere on the map, with probability `on_map`: there each place is as likely
    as any other before the image is seen, which is what the hypotheses of an image alone assume.
    """
    share = followed.none * on_map
    there, here = Ranked.of(followed.ranked), Ranked.of(alone.ranked)
    probabilities, new = there.probability.tolist(), []
    for row, (same, probability) in enumerate(
        zip(_same(here, there, belief), (share * here.probability).tolist(), strict=True)
    ):
        if same is None:
            new.append(row)
            probabilities.append(probability)
        else:
            probabilities[same] += probability
    numbers = np.concatenate([there.numbers, here.numbers[new]])
    numbers[:, Ranked.PROBABILITY] = probabilities
    places = there.places + [here.places[row] for row in new]
    order = (-numbers[:, Ranked.PROBABILITY]).argsort(kind="stable")
    ranked = Ranked(numbers[order], [places[row] for row in order.tolist()])
    return Hypotheses(ranked, followed.none - share * (1 - alone.none))


def _same(alone: Ranked, followed: Ranked, belief: Belief) -> list[int | None]:
    """Return for each hypothesis the first of the others that agrees with it, or None."""
    if not len(followed):
        return [None] * len(alone)
    east, north = (np.subtract.outer(alone.numbers[:, axis], followed.numbers[:, axis]) for axis in (0, 1))
    agrees = np.sqrt(east * east + north * north) <= belief.cluster_radius
    # few do, and the direction of those alone is worth a cosine
    first: list[int | None] = [None] * len(alone)
    here, there = np.nonzero(agrees)
    same = ~turned(alone.yaw[here], followed.yaw[there])
    for row, other in zip(here[same].tolist(), there[same].tolist(), strict=True):
        if first[row] is None:
            first[row] = other
    return first


def agree(filtered: Hypothesis, single: Hypothesis, belief: Belief) -> bool:
    """Tell whether the image alone names the place that it is thought to be at with those before it.

    Right after a kidnapping, or where the map ends, a filter is sure of the old place for some images more.
    """
    apart = np.linalg.norm(filtered.enu[:2] - single.enu[:2])
    return bool(apart <= belief.cluster_radius and not turned(filtered.yaw, single.yaw))
