"""What is measured of a map's places when it is written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from vpr_ros.maps.manifest import Spread

#: Metres beyond which two places are taken to show nothing in common, and places that this is measured on.
UNRELATED, SAMPLE = 50.0, 1000
#: Where there is nothing to measure it on: what descriptors of 100 dimensions give by chance.
NO_SPREAD = (0.0, 0.1)


def evenly(count: int, most: int = SAMPLE) -> NDArray[np.int64]:
    """Return at most so many of `count` places, evenly chosen."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def unrelated_of(similarities: NDArray[np.float32], enu: NDArray[np.float64]) -> Spread:
    """Return the (M, M) similarities of M places that are far from each other, at (M, 3) metres."""
    if len(enu) < 3:
        return Spread(*NO_SPREAD)
    distances = cdist(enu[:, :2], enu[:, :2])
    far = distances > min(UNRELATED, float(np.median(distances)))
    if not far.any():  # all on one spot
        return Spread(*NO_SPREAD)
    return Spread(float(similarities[far].mean()), max(float(similarities[far].std()), 1e-3))


def spacing_of(enu: NDArray[np.float64]) -> float:
    """Return the median distance, on the ground, from a place to its nearest neighbour, of (N, 3) metres."""
    if len(enu) < 2:
        return 0.0
    distances, _ = cKDTree(enu[:, :2]).query(enu[:, :2], k=2)
    return float(np.median(distances[:, 1]))
