"""A camera's pixels as they lie in memory, and which of their channels are red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.geotagged import Image

#: Numbers of the channels of red, green and blue.
Order = tuple[int, int, int]
RGB: Order = (0, 1, 2)
BGR: Order = (2, 1, 0)
GREY: Order = (0, 0, 0)
#: OpenCV's conversion to RGB, by the number of channels and their order.
_TO_RGB = {
    (3, RGB): None,
    (3, BGR): cv2.COLOR_BGR2RGB,
    (4, RGB): cv2.COLOR_RGBA2RGB,
    (4, BGR): cv2.COLOR_BGRA2RGB,
    (1, GREY): cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True, eq=False)
class CameraImage:
    """One image, where the camera's driver, or a decoder, put it.

    Attributes:
        pixels: (H, W, C) uint8, C of 1, 3 or 4; its rows may be padded.
        order: of the channels: RGB, BGR or GREY.
    """

    pixels: NDArray[np.uint8]
    order: Order = RGB

    def __post_init__(self) -> None:
        if (self.pixels.shape[2], self.order) not in _TO_RGB:
            raise ValueError(f"{self.pixels.shape[2]} channels in the order {self.order}")

    def rgb(self) -> Image:
        """Return (H, W, 3) RGB; the pixels themselves where they are that."""
        conversion = _TO_RGB[self.pixels.shape[2], self.order]
        if conversion is None:
            return self.pixels
        return np.asarray(cv2.cvtColor(self.pixels, conversion), np.uint8)
