"""What a query takes: milliseconds to encode an image and to search a map, and the map's bytes a place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from training.measuring.map_timing import milliseconds, search_once
from vpr_ros.geotagged import Image
from vpr_ros.maps.edit import sizes_of
from vpr_ros.maps.manifest import DESCRIPTORS, INDEX
from vpr_ros.open_engine import AnyEngine
from vpr_ros.place_map import PlaceMap

Descriptors = NDArray[np.float32]
#: Queries that are timed, at most: encoded one by one, and searched for one by one.
TIMED_IMAGES, TIMED_SEARCHES = 10, 100


def encoding_ms(engine: AnyEngine, images: Sequence[Image]) -> float:
    """Return the median over decoded RGB images, one by one."""
    taken = []
    for image in [images[0], *images]:  # the first one warms up
        start = time.perf_counter()
        engine.encode([image])
        taken.append(1e3 * (time.perf_counter() - start))
    return float(np.median(taken[1:]))


def search_ms(place_map: PlaceMap, descriptors: Descriptors) -> float:
    """Return the median over (M, P) descriptors, one by one."""
    return float(milliseconds(partial(search_once, place_map), descriptors)["p50"])


def bytes_a_place(place_map: PlaceMap) -> float:
    """Return the bytes of the index, and of the descriptors that it is ranked again by."""
    sizes = sizes_of(place_map)
    return (sizes[INDEX] + sizes.get(DESCRIPTORS, 0)) / len(place_map)
