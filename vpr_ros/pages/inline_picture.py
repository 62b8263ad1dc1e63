"""Pictures inside a page: small JPEGs as data: URIs."""

from __future__ import annotations

import base64
from collections.abc import Callable

import cv2
import numpy as np

from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image

#: Pixels within which a picture is shown, and its JPEG quality.
WIDTH, HEIGHT, QUALITY = 320, 240, 70


def picture(read: Callable[[], Image | None], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return an image as a data: URI, no larger than that; grey where there is none or it does not decode."""
    try:
        image = read()
    except (InputError, OSError):
        image = None
    if image is None or not image.size:
        image = np.full((height, width, 3), 200, np.uint8)
    return jpeg_uri(image, width, height)


def jpeg_uri(image: Image, width: int, height: int) -> str:
    """Return an RGB image as the data: URI of a JPEG, no larger than that."""
    before = image.shape[:2]
    scale = min(width / before[1], height / before[0], 1.0)
    size = max(1, round(before[1] * scale)), max(1, round(before[0] * scale))
    small = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
