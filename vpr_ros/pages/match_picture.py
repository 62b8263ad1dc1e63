"""Pictures of a match: the query beside what it was matched to."""

from __future__ import annotations

import cv2
import numpy as np

from vpr_ros.geotagged import Image

#: Pixels.
HEIGHT = 240


def side_by_side(query: Image, retrieved: Image | None) -> Image:
    """Return both RGB images at one height, the query on the left; grey where there is nothing retrieved."""
    left = _at_height(query)
    right = np.full_like(left, 128) if retrieved is None else _at_height(retrieved)
    return np.hstack([left, np.full((HEIGHT, 4, 3), 255, np.uint8), right])


def _at_height(image: Image) -> Image:
    width = max(1, round(image.shape[1] * HEIGHT / image.shape[0]))
    resized = cv2.resize(np.ascontiguousarray(image), (width, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
