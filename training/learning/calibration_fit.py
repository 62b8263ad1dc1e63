"""Fit what answers are worth to a drive whose truth is known.

Probabilities by maximum likelihood of "the best hypothesis is right", with weak priors around the defaults,
so that a short drive moves them little; covariances by the coverage of their 95 % ellipses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, logsumexp

from vpr_ros.clusters import clusters
from vpr_ros.geodesy import Array, heading_to_yaw, wrap
from vpr_ros.hypotheses import Belief, Hypotheses, Hypothesis, gather, none_score, with_lost
from vpr_ros.odometry import Pose
from vpr_ros.place_map import PlaceMap
from vpr_ros.sequence_filter import ON_MAP, Dynamics, SequenceFilter

#: Chi-square of two degrees of freedom that 95 % stay below.
ELLIPSE_95 = -2 * math.log(0.05)
#: A probability is never taken for more certain than this: one frame shall not decide.
SURE = 1e-3
#: Unrelated places looked at for each frame.
UNRELATED = 20
#: Trials of the filter's numbers: each runs it over the whole drive.
TRIALS = 45


@dataclass(frozen=True, eq=False)
class Drive:
    """A drive in descriptors.

    Attributes:
        stamps: (N,) nanoseconds, rising.
        descriptors: (N, P).
        poses: N, by odometry; None where it is not known.
        truth: (N, 2) metres east, north in the map's frame; NaN where it is not known.
        heading: (N,) degrees; likewise.
        retrieved: (N, k) places.
    """

    stamps: NDArray[np.int64]
    descriptors: NDArray[np.float32]
    poses: Sequence[Pose | None]
    truth: Array
    heading: Array
    retrieved: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def known(self) -> NDArray[np.intp]:
        """The frames with a truth."""
        return np.flatnonzero(~np.isnan(self.truth[:, 0]))


def single_answers(drive: Drive, place_map: PlaceMap, belief: Belief) -> list[Hypotheses]:
    """Return the hypotheses of each image alone."""
    return [
        gather(place_map.scores(descriptor, places), places, place_map, belief)
        for descriptor, places in zip(drive.descriptors, drive.retrieved, strict=True)
    ]


def filtered_answers(
    drive: Drive, place_map: PlaceMap, belief: Belief, dynamics: Dynamics, alone: Sequence[Hypotheses]
) -> list[Hypothesis]:
    """Return the best hypothesis over time at each image; `alone` is what each image says by itself."""
    sequence = SequenceFilter(place_map, belief, dynamics)
    answers = []
    for stamp, pose, places, descriptor, single in zip(
        drive.stamps.tolist(), drive.poses, drive.retrieved, drive.descriptors, alone, strict=True
    ):
        sequence.predict(stamp, pose)
        followed = sequence.update(places, _look(place_map, descriptor))
        answers.append(with_lost(followed, single, ON_MAP, belief).ranked[0])
    return answers


def _look(place_map: PlaceMap, descriptor: NDArray[np.float32]) -> Callable[[NDArray[np.int64]], Array]:
    return lambda places: place_map.scores(descriptor, places)


def offsets(answers: Sequence[Hypothesis], truth: Array) -> Array:
    """Return (N, 2) metres east, north from the truth to each answer."""
    return np.array([answer.enu[:2] for answer in answers]).reshape(-1, 2) - truth


def is_right(answers: Sequence[Hypothesis], truth: Array, radius: float) -> NDArray[np.bool_]:
    """Return which answers are within the radius of the truth; none where that is not known."""
    near: NDArray[np.bool_] = np.linalg.norm(offsets(answers, truth), axis=1) <= radius
    return near


def log_loss(probability: Array, right: NDArray[np.bool_]) -> float:
    """Return the negative log-likelihood of N probabilities of being right."""
    likelihood = np.clip(np.where(right, probability, 1 - probability), SURE, 1)
    return float(-np.log(likelihood).sum())


def fit_belief(drive: Drive, place_map: PlaceMap, belief: Belief, radius: float) -> Belief:
    """Return the belief with the temperature and none_margin at which answers to images are most likely."""
    known = drive.known
    retrieved, truth = drive.retrieved[known], drive.truth[known]
    scores = np.stack([place_map.scores(drive.descriptors[n], drive.retrieved[n]) for n in known])
    group = np.zeros(retrieved.shape, np.int64)  # the hypothesis that each place is part of
    for frame, places in enumerate(retrieved):
        for number, members in enumerate(
            clusters(place_map.enu[places], place_map.yaw[places], belief.cluster_radius)
        ):
            group[frame, members] = number
    at = (np.arange(len(known))[:, None], group)
    base = none_score(place_map, replace(belief, none_margin=0.0))

    def loss(numbers: Array) -> float:
        temperature, margin = math.exp(numbers[0]), numbers[1]
        logits = np.column_stack([scores, np.full(len(scores), base + margin)]) / temperature
        weights = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))[:, :-1]
        total = np.zeros(retrieved.shape)
        np.add.at(total, at, weights)
        centre = np.zeros((*retrieved.shape, 2))
        np.add.at(centre, at, weights[..., None] * place_map.enu[retrieved][..., :2])
        best = (np.arange(len(known)), total.argmax(axis=1))
        mean = centre[best] / np.maximum(total[best], 1e-300)[:, None]
        right = np.linalg.norm(mean - truth, axis=1) <= radius
        return log_loss(total[best], right) + float(numbers[0] ** 2 / 2 + margin**2 / 8)

    starts = [np.array([cold, margin]) for cold in (-1.0, 0.0) for margin in (-1.0, 0.0)]
    found = min((_lowest(loss, start) for start in starts), key=lambda each: each.fun)
    return replace(belief, temperature=math.exp(found.x[0]), none_margin=float(found.x[1]))


def _lowest(loss: Callable[[Array], float], start: Array) -> Any:
    """Search from a start of two numbers; where one is 0, the method's own first steps are too small."""
    options = {"initial_simplex": start + np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])}
    return minimize(loss, start, method="Nelder-Mead", options=options)


def fit_likelihood(drive: Drive, place_map: PlaceMap, dynamics: Dynamics, radius: float) -> Dynamics:
    """Return the dynamics with the line through a score's log-odds, right place against unrelated one."""
    rng = np.random.default_rng(0)
    nearest = place_map.ground.query(drive.truth[drive.known])
    right: list[Array] = []
    unrelated: list[Array] = []
    for number, metres, place in zip(drive.known, *nearest, strict=True):
        descriptor = drive.descriptors[number]
        if metres <= radius:
            right.append(place_map.scores(descriptor, np.array([place])))
        others = rng.integers(len(place_map), size=UNRELATED)
        apart = np.linalg.norm(place_map.enu[others, :2] - drive.truth[number], axis=1)
        unrelated.append(place_map.scores(descriptor, others[apart > 2 * radius]))
    positive, negative = np.concatenate([np.empty(0), *right]), np.concatenate(unrelated)
    if not len(positive) or not len(negative):
        return dynamics

    start = np.array([math.log(dynamics.sharpness), dynamics.lost_score])

    def loss(numbers: Array) -> float:
        sharpness, level = math.exp(numbers[0]), numbers[1]
        odds = -np.log(expit(sharpness * (positive - level)).clip(1e-12)).mean()
        odds -= np.log(expit(sharpness * (level - negative)).clip(1e-12)).mean()
        # without a prior, scores that do not overlap have no best line, and those that are alike none at all
        return float(len(positive) * odds + (numbers - start) ** 2 @ np.array([1 / 2, 1 / 8]))

    found = _lowest(loss, start).x
    return replace(dynamics, sharpness=math.exp(found[0]), lost_score=float(found[1]))


def fit_dynamics(
    drive: Drive,
    place_map: PlaceMap,
    belief: Belief,
    dynamics: Dynamics,
    radius: float,
    tell: Callable[[], object],
) -> Dynamics:
    """Return the dynamics near these at which the filter's answers are most likely; `tell` counts TRIALS."""
    known = drive.known
    alone = single_answers(drive, place_map, belief)

    def moved(numbers: Array) -> Dynamics:
        return replace(
            dynamics,
            look=dynamics.look * math.exp(numbers[0]),
            sharpness=dynamics.sharpness * math.exp(numbers[1]),
            lost_score=dynamics.lost_score + float(numbers[2]),
        )

    def loss(numbers: Array) -> float:
        tell()
        every = filtered_answers(drive, place_map, belief, moved(numbers), alone)
        answers = [every[number] for number in known]
        probability = np.array([answer.probability for answer in answers])
        right = is_right(answers, drive.truth[known], radius)
        return log_loss(probability, right) + float(numbers @ (numbers * np.array([1.0, 4.0, 4.0])))

    corners = np.array([[0.0, 0, 0], [0.7, 0, 0], [0, 0.4, 0], [0, 0, 0.5]])
    options = {"maxfev": TRIALS, "initial_simplex": corners}
    return moved(minimize(loss, corners[0], method="Nelder-Mead", options=options).x)


def fit_covariance(answers: Sequence[Hypothesis], errors: Array, geotag_std: float, scale: float) -> float:
    """Return the scale of the covariance at which 95 % of the errors lie within their 95 % ellipses.

    Args:
        answers: right ones, whose covariances were scaled by `scale`.
        errors: (N, 2) metres of these.
        geotag_std: metres, the part that is not scaled.
        scale: likewise.
    """
    floor = geotag_std**2 * np.eye(2)
    # of few errors, one more than 95 %: that many are within on the next drive, too (conformal prediction)
    level = min(1.0, math.ceil(0.95 * (len(errors) + 1)) / len(errors))
    spread = (np.array([answer.covariance[:2, :2] for answer in answers]) - floor) / scale

    def excess(logarithm: float) -> float:
        covariance = math.exp(logarithm) * spread + floor
        squared = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(covariance), errors)
        return float(np.quantile(squared, level, method="higher")) - ELLIPSE_95

    low, high = math.log(1e-3), math.log(1e3)
    if excess(low) <= 0:  # the geotags' own error covers it
        return math.exp(low)
    return math.exp(high) if excess(high) >= 0 else math.exp(brentq(excess, low, high, xtol=1e-3))


def fit_yaw(answers: Sequence[Hypothesis], heading: Array, default: float) -> float:
    """Return the standard deviation, radians, of right answers' yaw, or the default where it is not known."""
    turned = wrap(np.array([answer.yaw for answer in answers]) - heading_to_yaw(heading))
    turned = turned[~np.isnan(turned)]
    if len(turned) < 10:
        return default
    # of a view that is turned by chance, in a street seen backwards say, the deviation says nothing
    return max(0.02, 1.4826 * float(np.median(np.abs(turned))))
