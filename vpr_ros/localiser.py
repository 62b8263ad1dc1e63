"""The chain: one image to hypotheses."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

from vpr_ros.engine import Engine
from vpr_ros.geotagged import Image
from vpr_ros.hypotheses import Belief, Hypotheses, gather
from vpr_ros.place_map import PlaceMap


@dataclass(frozen=True)
class Answer:
    """What one image led to.

    Attributes:
        hypotheses: ranked.
        seconds: taken by each stage.
    """

    hypotheses: Hypotheses
    seconds: dict[str, float]


@dataclass(frozen=True)
class Localiser:
    """An engine and a map made with the same encoder."""

    engine: Engine
    place_map: PlaceMap
    belief: Belief = field(default_factory=Belief)
    k: int = 20

    def localise(self, image: Image) -> Answer:
        """Answer for one (H, W, 3) RGB image."""
        start = perf_counter()
        descriptors = self.engine.encode([image])
        encoded = perf_counter()
        similarities, places = self.place_map.search(descriptors, self.k)
        searched = perf_counter()
        hypotheses = gather(similarities[0], places[0], self.place_map, self.belief)
        seconds = {
            "encode": encoded - start,
            "search": searched - encoded,
            "hypotheses": perf_counter() - searched,
        }
        return Answer(hypotheses, seconds)
