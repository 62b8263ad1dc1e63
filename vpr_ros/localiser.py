"""The chain: one image, and what was known before it, to hypotheses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.calibration import NEVER, Calibration, read_calibration
from vpr_ros.engines.gpu_jpeg import GpuImage
from vpr_ros.errors import InputError
from vpr_ros.hypotheses import Belief, Hypotheses, Hypothesis, agree, gather, rank_each, weigh, with_lost
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.maps.resident import Found, ResidentMap, fits
from vpr_ros.odometry import Pose
from vpr_ros.open_engine import AnyEngine, open_engine
from vpr_ros.place_map import PlaceMap, Places, open_map
from vpr_ros.prior import Prior, within_reach
from vpr_ros.sequence_filter import ON_MAP, Dynamics, SequenceFilter


@dataclass(frozen=True)
class Settings:
    """What a user may choose."""

    k: int = 20  # places retrieved for each image
    precision: float = 0.99  # share of the accepted answers that shall be right
    filter: bool = True  # whether answers take the images before into account
    max_speed: float = 0.0  # m/s; 0 for what the calibration says

    def __post_init__(self) -> None:
        if not (self.k >= 1 and 0 < self.precision < 1 and self.max_speed >= 0):
            raise InputError(
                f"k {self.k}, precision {self.precision:g}, max_speed {self.max_speed:g}: expected at least "
                "1, above 0 and below 1, and not negative"
            )


@dataclass(frozen=True)
class Answer:
    """What one image led to.

    Attributes:
        single: hypotheses of the image alone.
        filtered: those over time; None where the filter is off.
        accepted: the best one, where it can be believed.
        seconds: taken by each stage; while a GPU encodes, the filter predicts.
    """

    single: Hypotheses
    filtered: Hypotheses | None
    accepted: Hypothesis | None
    seconds: dict[str, float]

    @property
    def hypotheses(self) -> Hypotheses:
        """Those over time where there is a filter."""
        return self.single if self.filtered is None else self.filtered


class Localiser:
    """An engine and a map made with the same encoder; remembers the images before where it filters.

    Attributes:
        prior: that the last image came with.
        reached: places of the map that were within its reach; all of them without one.
    """

    def __init__(
        self,
        engine: AnyEngine,
        place_map: PlaceMap,
        calibration: Calibration | None,
        settings: Settings,
        vectors: PlaceMap | ResidentMap | None = None,
    ) -> None:
        """Begin without knowing any image.

        Args:
            engine: what encodes.
            place_map: built with its encoder.
            calibration: of the map.
            settings: of the user.
            vectors: what `searched` gave for this map and the engine's device, where that is at hand.
        """
        self.engine = engine
        self.place_map = place_map
        self.calibration = calibration
        self.settings = settings
        self.vectors = searched(place_map, engine.device) if vectors is None else vectors
        self.belief = calibration.belief if calibration else Belief()
        self.single_threshold, self.filtered_threshold = thresholds(calibration, settings.precision)
        dynamics = calibration.dynamics if calibration else Dynamics()
        if settings.max_speed:
            dynamics = replace(dynamics, max_speed=settings.max_speed)
        self._max_speed = dynamics.max_speed
        self._filter = SequenceFilter(place_map, self.belief, dynamics) if settings.filter else None
        self.prior: Prior | None = None
        self._drive = 0.0  # metres that may have been driven between prior and image
        self.reached = len(place_map)
        self._within: Places | None = None  # the places to search; None for all

    @property
    def filters(self) -> bool:
        """Whether answers take the images before into account."""
        return self._filter is not None

    @property
    def threshold(self) -> float:
        """The probability that the best hypothesis must pass to be accepted."""
        return self.single_threshold if self._filter is None else self.filtered_threshold

    def localise(
        self,
        image: CameraImage | GpuImage,
        stamp: int,
        pose: Pose | None = None,
        prior: Prior | None = None,
    ) -> Answer:
        """Answer for one image.

        Args:
            image: of the camera.
            stamp: when it was taken, nanoseconds.
            pose: where odometry says that the robot is.
            prior: around which places are searched; where none is within its reach, all are.
        """
        asked: Callable[[], Found] | None = None

        def meanwhile(there: Tensor | None) -> None:
            nonlocal asked
            self._predict(stamp, pose, prior)
            asked = self._ask(there)

        start = perf_counter()
        descriptor = self.engine.encode_one(image, meanwhile=meanwhile)
        encoded = perf_counter() - start
        answer = self._update(descriptor, asked)
        return replace(answer, seconds={"encode": encoded, **answer.seconds})

    def answer(
        self,
        descriptor: NDArray[np.float32],
        stamp: int,
        pose: Pose | None = None,
        prior: Prior | None = None,
    ) -> Answer:
        """Answer for one (P,) descriptor."""
        self._predict(stamp, pose, prior)
        return self._update(descriptor)

    def _predict(self, stamp: int, pose: Pose | None, prior: Prior | None) -> None:
        if self._filter is not None:
            self._filter.predict(stamp, pose)
        self._restrict(prior, 0.0 if prior is None else self._max_speed * prior.age(stamp))

    def _restrict(self, prior: Prior | None, drive: float) -> None:
        """Choose the places to search: those within reach of a prior and of so many metres driven since."""
        if (prior, drive) == (self.prior, self._drive):  # one that does not age: it may allow half a city
            return
        within = None if prior is None else within_reach(prior, self.place_map, drive)
        self.prior, self._drive = prior, drive
        self.reached = len(self.place_map) if within is None else len(within)
        # a prior that is wrong shall not silence the robot
        self._within = within if self.reached else None

    def _ask(self, there: Tensor | None) -> Callable[[], Found] | None:
        """Have a descriptor searched for behind its encoding, where both are on the GPU."""
        if there is None or self._within is not None or not isinstance(self.vectors, ResidentMap):
            return None
        followed = np.empty(0, np.int64) if self._filter is None else self._filter.followed
        return self.vectors.ask(there, self.settings.k, followed)

    def _update(self, descriptor: NDArray[np.float32], asked: Callable[[], Found] | None = None) -> Answer:
        start = perf_counter()
        found = None if asked is None else asked()
        if found is not None:
            similarities, places = found.similarities, found.places
        else:
            (similarities,), (places,) = self.vectors.search(descriptor[None], self.settings.k, self._within)
        scores = self.place_map.scores_of(similarities, descriptor)
        searched = perf_counter()
        seconds = {"search": searched - start}
        if self._filter is None:
            single = gather(scores, places, self.place_map, self.belief)
            seconds["hypotheses"] = perf_counter() - searched
            return Answer(single, None, self.accepts(single, filtered=False), seconds)

        def look(followed: NDArray[np.int64]) -> NDArray[np.float64]:
            known = None if found is None else found.look(followed)
            similarities = self.vectors.similarities(descriptor, followed) if known is None else known
            return self.place_map.scores_of(similarities, descriptor)

        followed = self._filter.weigh(places, look)
        weighed = perf_counter()
        retrieved = places, weigh(scores, self.place_map, self.belief)
        single, over_time = rank_each([retrieved, followed], self.place_map, self.belief)
        filtered = with_lost(over_time, single, ON_MAP, self.belief)
        accepted = self.accepts(filtered, filtered=True)
        if accepted is not None and not agree(accepted, single.ranked[0], self.belief):
            accepted = None
        seconds |= {"filter": weighed - searched, "hypotheses": perf_counter() - weighed}
        return Answer(single, filtered, accepted, seconds)

    def accepts(self, hypotheses: Hypotheses, filtered: bool) -> Hypothesis | None:
        """Return the best hypothesis where it can be believed."""
        best = hypotheses.ranked[0]
        threshold = self.filtered_threshold if filtered else self.single_threshold
        return best if best.probability > threshold else None

    def reset(self) -> None:
        """Forget the images before."""
        if self._filter is not None:
            self._filter.reset()

    def out_of_reach(self) -> str:
        """Say that the last image's prior was of no use, or nothing."""
        if self.prior is None or self.reached:
            return ""
        return (
            f"no place of {self.place_map.folder} is within reach of the prior "
            f"{self.prior.latitude:.6f} {self.prior.longitude:.6f}: all places are searched"
        )

    def doubts(self) -> str:
        """Say why its answers are not to be believed as they are, or nothing."""
        folder, precision = self.place_map.folder, self.settings.precision
        if self.calibration is None:
            return (
                f"{folder} is not calibrated: probabilities are not to be trusted and covariances are wide; "
                "run training/calibrate.py with another drive"
            )
        if self.threshold == NEVER:
            return (
                f"the calibration of {folder}, on {self.calibration.frames} frames, cannot promise that "
                f"{precision:g} of the fixes are right: none will be accepted; calibrate on a longer drive, "
                "or lower the precision"
            )
        return ""


def searched(place_map: PlaceMap, device: torch.device) -> PlaceMap | ResidentMap:
    """Return what is searched: the GPU's copy where the encoder is on one and the map fits beside it.

    A map whose index approximates descriptors that are not kept is searched where it lies.
    """
    if device.type == "cuda" and place_map.compares_descriptors and fits(place_map.shape, device):
        return ResidentMap(place_map.blocks(), place_map.shape, device)
    return place_map


def thresholds(calibration: Calibration | None, precision: float) -> tuple[float, float]:
    """Return the probabilities that an image's answer, and the filter's, must pass to be accepted."""
    if calibration is None:  # as if the probability were what it is called
        return precision, precision
    return calibration.single.threshold(precision), calibration.filtered.threshold(precision)


def open_localiser(weights: Path, map: Path, device: str, settings: Settings) -> Localiser:  # noqa: A002
    """Open weights and a map made with them, with the map's calibration where it has one."""
    return on_map(open_engine(weights, device), map, settings)


def on_map(engine: AnyEngine, map: Path, settings: Settings) -> Localiser:  # noqa: A002
    """Open a map made with an engine's encoder, with its calibration where it has one."""
    place_map = open_map(map, engine.fingerprint)
    return Localiser(engine, place_map, read_calibration(place_map), settings)
