"""Images of noise, for benches of training: what takes time does not depend on what they show."""

from __future__ import annotations

import numpy as np

from vpr_ros.geotagged import GeotaggedImages, Image, make_rows

#: Degrees of latitude: two images at one place 5 m apart, the next place 100 m on.
PLACE, APART = 100 / 111_200, 5 / 111_200


def noise(count: int, height: int, width: int) -> GeotaggedImages:
    """Return images of noise, two at each place: to an untrained network all are about equally unlike."""
    number = np.arange(count)
    rows = make_rows("noise", latitude=number // 2 * PLACE + number % 2 * APART, longitude=np.zeros(count))

    def read(row: int) -> Image:
        coarse = np.random.default_rng(row).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        return coarse.repeat(8, axis=0).repeat(8, axis=1)

    return GeotaggedImages(rows, read)
