"""Hypotheses over time: a discrete Bayes filter over the places of the map.

The state is the place that the robot is at, or "lost": off the map, or on it and not known where. The filter
keeps no more than the places it thinks possible, so that a step costs what lies within reach and not what
the map holds.

    prediction   a place passes on its probability to the places within reach of the motion
    update       p(place) ~ prediction(place) * exp(evidence * sharpness * (score - lost_score))
                 p(lost)  ~ prediction(lost)

The exponent is the logarithm of how much likelier a score is at the right place than at an unrelated one,
a line that training/calibrate.py fits. Images that follow each other closely look alike and err alike:
together they are evidence once in `look` seconds. (Thrun, Burgard, Fox: Probabilistic Robotics, ch. 4.1.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np

from vpr_ros.clusters import turned
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Array
from vpr_ros.hypotheses import Belief, Hypotheses, rank
from vpr_ros.odometry import Motion, Pose
from vpr_ros.place_map import PlaceMap, Places

_ZERO = np.zeros(1, np.int64)
#: From (M,) places to the (M,) scores that the image at hand gives them.
Look = Callable[[Places], Array]

#: Places followed at most, and the probability below which one is given up, times the places of the map:
#: of a large one, each is entered with little, and at a high frame rate with less.
MOST, LEAST = 1000, 1e-4
#: Of places gathered into hypotheses: the probability below which one adds nothing to them.
SHOWN = 1e-4
#: Probability that a robot just switched on is on the map.
ON_MAP = 0.5
#: Seconds without an image after which it could be anywhere.
FORGET = 30.0
#: Odometry's error, metres a metre; what an image is worth while wheels stand still: it may be carried.
DRIFT, STANDING = 0.1, 0.1
#: Seconds without motion after which they do.
STILL = 2.0


@dataclass(frozen=True)
class Dynamics:
    """How a robot moves, and how much its images tell."""

    max_speed: float = 15.0  # m/s, where there is no odometry
    leave: float = 0.02  # 1/s: how often it is carried off, or leaves the map
    enter: float = 0.2  # 1/s: how often one that is lost is on the map again
    look: float = 1.0  # seconds of images that are evidence once
    sharpness: float = 1.0  # logarithm of the odds that one score more is worth
    lost_score: float = 2.0  # score of a place that speaks neither for it nor for being lost

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not ((value > 0 or name == "lost_score") and math.isfinite(value)):
                raise InputError(f"{name} is {value}: expected a finite, positive number")


class SequenceFilter:
    """What is known of one robot; a new one, or one that is reset, knows nothing."""

    def __init__(self, place_map: PlaceMap, belief: Belief, dynamics: Dynamics) -> None:
        self._map = place_map
        self._belief = belief
        self._dynamics = dynamics
        self._xy = place_map.enu[:, :2]
        self._slack = place_map.spacing + place_map.geotag_std
        self.reset()

    @property
    def followed(self) -> Places:
        """(M,) places thought possible: after `predict`, what `update` looks at beside those retrieved."""
        return self._places

    def reset(self) -> None:
        """Forget everything."""
        self._places: Places = np.empty(0, np.int64)
        self._weights: Array = np.empty(0)
        self._lost = 1.0
        self._stamp: int | None = None
        self._pose: Pose | None = None  # up to which motion has been passed on
        self._stop: Pose | None = None  # where it last moved to,
        self._still = 0.0  # and the seconds since
        self._entering, self._evidence = 0.0, 0.0  # share of what is lost; worth of the image to come

    def predict(self, stamp: int, pose: Pose | None) -> None:
        """Pass on what is known to the time of an image.

        Args:
            stamp: of the image, nanoseconds.
            pose: by odometry at that time, where it is known.
        """
        seconds = 0.0 if self._stamp is None else (stamp - self._stamp) / 1e9
        if self._stamp is None or not 0 <= seconds <= FORGET:
            self.reset()
            self._pose = self._stop = pose
            self._entering, self._evidence = ON_MAP, 1.0
        else:
            self._evidence = min(1.0, seconds / self._dynamics.look) * self._move(seconds, pose)
            stay = math.exp(-self._dynamics.leave * seconds)
            self._lost += (1 - stay) * float(self._weights.sum())
            self._weights = self._weights * stay
            self._entering = 1 - math.exp(-self._dynamics.enter * seconds)
        self._stamp = stamp

    def update(self, places: Places, look: Look) -> Hypotheses:
        """Take the image that was predicted for and return where the robot may be now.

        Args:
            places: (k,) retrieved for the image.
            look: for the scores of the places followed.
        """
        return rank(*self.weigh(places, look), self._map, self._belief)

    def weigh(self, places: Places, look: Look) -> tuple[Places, Array]:
        """Take the image likewise; return what `rank` makes hypotheses of.

        Returns (M,) places, the most probable first, and their probabilities.
        """
        self._enter(places, self._entering)
        self._update_weights(self._evidence, look)
        shown = max(1, int(np.count_nonzero(self._weights > SHOWN)))
        return self._places[:shown], self._weights[:shown]

    def _move(self, seconds: float, pose: Pose | None) -> float:
        """Pass on the weights to the places within reach; return what a new image is worth."""
        xy = self._xy[self._places]
        if pose is None or self._pose is None or self._stop is None:
            self._pose = self._stop = pose
            self._still = 0.0
            self._pass_on(
                xy, self._dynamics.max_speed * seconds + self._slack, lambda off, *_: np.ones_like(off)
            )
            return 1.0
        motion = self._pose.motion_to(pose)
        if motion.distance >= self._slack / 2:  # less than from one place to the next waits for more
            self._pose = pose
            self._pass_on_by(motion, xy)
        self._still += seconds
        if self._stop.motion_to(pose).distance > self._slack / 10:
            self._stop, self._still = pose, 0.0
        return 1.0 if self._still <= STILL else STANDING

    def _pass_on_by(self, motion: Motion, xy: Array) -> None:
        """Move by odometry: along the course that a place's heading gives, or any way where it has none."""
        yaw = self._map.yaw[self._places]
        known = ~np.isnan(yaw)
        std = np.where(known, math.hypot(DRIFT, self._belief.yaw_std), DRIFT)
        std = np.hypot(self._slack / 2, std * motion.distance)
        course = np.where(known, yaw, 0.0) + math.atan2(motion.left, motion.ahead)
        step = motion.distance * np.stack([np.cos(course), np.sin(course)], axis=1)
        ring = np.where(known, 0.0, motion.distance)

        def weigh(off: Array, source: Places, target: Places) -> Array:
            away = turned(self._map.yaw[target] - motion.turn, yaw[source])
            return np.where(away, 0.0, np.exp(-0.5 * ((off - ring[source]) / std[source]) ** 2))

        centres = xy + np.where(known[:, None], step, 0.0)
        self._pass_on(centres, float((ring + 3 * std).max(initial=0.0)), weigh)

    def _pass_on(self, centres: Array, reach: float, weigh: Callable[[Array, Places, Places], Array]) -> None:
        """Share each weight among the places within reach of its centre; what finds none is lost."""
        if not len(centres):
            return
        near = self._map.ground.query_ball_point(centres, reach)
        counts = np.fromiter(map(len, near), np.int64, len(near))
        source = np.repeat(np.arange(len(near)), counts)
        target = np.fromiter(chain.from_iterable(near), np.int64, len(source))
        off = centres[source] - self._xy[target]
        shares = weigh(np.sqrt((off * off).sum(axis=1)), source, target) + 1e-12
        shares *= (self._weights / np.bincount(source, shares, len(centres)).clip(1e-300))[source]
        before = float(self._weights.sum())
        self._followed(target, shares)
        self._lost += max(0.0, before - float(self._weights.sum()))

    def _enter(self, places: Places, share: float) -> None:
        """Let that share of what is lost be anywhere; only those that the image speaks for are followed."""
        each = self._lost * share / len(self._map)
        self._lost -= each * len(places)
        entering = np.full(len(places), each)
        self._followed(np.concatenate([self._places, places]), np.concatenate([self._weights, entering]))

    def _followed(self, places: Places, weights: Array) -> None:
        """Follow these places; the weights of one that is there twice are added."""
        if not len(places):
            self._places, self._weights = places, weights
            return
        # what np.unique and np.bincount do, in half of their calls
        order = places.argsort(kind="stable")
        places = places[order]
        starts = np.flatnonzero(places[1:] != places[:-1])
        starts += 1
        starts = np.concatenate([_ZERO, starts])
        self._places, self._weights = places[starts], np.add.reduceat(weights[order], starts)

    def _update_weights(self, evidence: float, look: Look) -> None:
        """Weigh what was predicted by what is seen."""
        odds = (look(self._places) - self._dynamics.lost_score) * (evidence * self._dynamics.sharpness)
        logits = np.log(np.maximum(self._weights, 1e-300)) + odds
        lost = math.log(max(self._lost, 1e-300))
        top = max(lost, float(logits.max(initial=-math.inf)))
        weights, none = np.exp(logits - top), math.exp(lost - top)
        total = float(weights.sum()) + none
        self._lost, weights = none / total, weights / total
        kept = (-weights).argsort(kind="stable")[:MOST]
        weights = weights[kept]
        count = max(1, int(np.count_nonzero(weights > LEAST / len(self._map))))
        self._places, self._weights = self._places[kept[:count]], weights[:count]
        self._lost = 1.0 - float(self._weights.sum())
