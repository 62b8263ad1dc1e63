"""What a camera without distortion sees of an equirectangular panorama."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image

#: OpenCV's remap counts columns in 16 bits; of a panorama there is one more, see `closed`.
_MAX_WIDTH = 2**15 - 3


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion; raises InputError for one that sees more than 120 degrees either way.

    Attributes:
        width: of its images, pixels.
        height: likewise.
        fov: degrees that the width sees.
    """

    width: int
    height: int
    fov: float

    def __post_init__(self) -> None:
        if not (0 < self.width <= 4096 and 0 < self.height <= 4096):
            raise InputError(f"view of {self.width}x{self.height}: expected 1 to 4096 pixels each way")
        if not 1 <= self.fov <= 120:
            raise InputError(f"view of {self.fov:g} degrees: expected a field of view of 1 to 120")
        if (vertical := 2 * math.degrees(math.atan(self.height / 2 / self.focal))) > 120:
            raise InputError(
                f"view of {self.width}x{self.height} and {self.fov:g} degrees: sees {vertical:.0f} "
                "degrees from top to bottom: expected at most 120: give it less height"
            )

    @property
    def focal(self) -> float:
        """Pixels from its centre to its image."""
        return self.width / 2 / math.tan(math.radians(self.fov) / 2)


def closed(panorama: Image) -> Image:
    """Return a whole panorama with what comes beyond each edge, so that no view of it has a seam.

    Args:
        panorama: (H, 2H, 3), the zenith above its first row, its heading between its two middle columns.

    Returns:
        (H + 2, 2H + 1, 3): across a pole comes the row half a turn further, after the last column the first.

    Raises:
        InputError: it is not twice as wide as high.
    """
    height, width = panorama.shape[:2]
    if width != 2 * height:
        raise InputError(
            f"{width}x{height} pixels: expected an equirectangular panorama, twice as wide as high"
        )
    if width > _MAX_WIDTH:
        raise InputError(f"panorama {width} pixels wide: expected at most {_MAX_WIDTH}: make it smaller")
    around = np.empty((height + 2, width + 1, 3), np.uint8)
    around[1:-1, :-1] = panorama
    around[0, :-1], around[-1, :-1] = np.roll(panorama[[0, -1]], height, axis=1)
    around[:, -1] = around[:, 0]
    return around


def look(panorama: Image, camera: Pinhole, heading: float, pitch: float) -> Image:
    """Return the (height, width, 3) view of a camera that is level from left to right.

    A pixel is the mean of samples no further apart than the panorama's pixels at its horizon: what is too
    fine for the view is blurred, not aliased. Blurred beforehand, the panorama would need another width in
    every row, and in every corner of a view.

    Args:
        panorama: as `closed` returns it.
        camera: that looks.
        heading: of its optical axis, degrees to the right of the panorama's.
        pitch: likewise, degrees above the horizon.
    """
    height, width = panorama.shape[0] - 2, panorama.shape[1] - 1
    samples = math.ceil(width / (2 * math.pi * camera.focal))
    right, up = _offsets(camera.width, samples), -_offsets(camera.height, samples)[:, None]
    sine, cosine = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    forward, above = camera.focal * cosine - sine * up, camera.focal * sine + cosine * up
    turn = np.arctan2(right, forward) / (2 * math.pi) + (heading / 360 % 1 + 0.5)
    rise = np.arctan2(above, np.hypot(right, forward)) / math.pi
    # coordinates of OpenCV count from the middle of the first pixel; a row comes before the panorama's first
    column = turn * width - 0.5
    column -= width * np.floor(column / width)
    seen = cv2.remap(panorama, column, (0.5 - rise) * height + 0.5, cv2.INTER_LINEAR)
    if samples > 1:
        seen = cv2.resize(seen, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(seen, np.uint8)


def _offsets(pixels: int, samples: int) -> NDArray[np.float32]:
    """Return (pixels * samples,) pixels from the centre of an image's side, so many in each pixel."""
    return ((np.arange(pixels * samples) + 0.5) / samples - pixels / 2).astype(np.float32)
