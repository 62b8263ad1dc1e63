"""The places that benches search: a street of random descriptors that knows the images it is asked with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpr_ros.engine import Engine
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_geodetic
from vpr_ros.geotagged import Image, Rows, make_rows

DATUM = Datum(52.0, 5.0, 0.0)


def street(engine: Engine, images: list[Image], places: int) -> tuple[NDArray[np.float32], Rows]:
    """Return the (N, P) descriptors and rows of places 1 m apart; the first ones are those of the images.

    Args:
        engine: encodes the images.
        images: RGB, at most as many as places.
        places: N.

    Raises InputError for fewer places than images.
    """
    if places < len(images):
        raise InputError(f"--places {places}: expected at least {len(images)}")
    random = np.random.default_rng(0)
    descriptors = random.standard_normal((places, engine.dimension), np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    for place, image in enumerate(images):
        descriptors[place] = engine.encode([image])[0]
    enu = np.column_stack([np.arange(places, dtype=float), np.zeros(places), np.zeros(places)])
    latitude, longitude, altitude = to_geodetic(enu, DATUM).T
    rows = make_rows(
        "bench", latitude=latitude, longitude=longitude, altitude=altitude, heading=np.full(places, 90.0)
    )
    return descriptors, rows
