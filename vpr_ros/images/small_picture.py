"""The small picture of a place that a map keeps, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.geotagged import Image
from vpr_ros.images.pixels import compress

#: Pixels across.
PICTURE_WIDTH = 240


def small_jpeg(image: Image, width: int) -> bytes:
    """Return the JPEG of an RGB image, at most so wide."""
    return compress(shrink(image, width))


def shrink(image: Image, width: int = PICTURE_WIDTH) -> Image:
    """Return the RGB image at that width, or as it is where it is smaller."""
    height, before = image.shape[:2]
    if before <= width:
        return image
    factor = before // width
    if factor > 1:  # by whole numbers first, which takes a fraction of the time
        size = (before // factor, max(1, height // factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    size = (width, max(1, round(height * width / before)))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def shrink_planes(planes: Tensor, width: int) -> NDArray[np.uint8]:
    """Return (N, 3, H, W) RGB bytes, on any device, as (N, h, w, 3) in the processor's memory, likewise."""
    height, before = planes.shape[-2:]
    if before > width:
        size = [max(1, round(height * width / before)), width]
        factor = before // width
        if factor > 1:
            planes = F.avg_pool2d(planes.half(), (min(factor, height), factor))
        planes = F.interpolate(planes.half(), size, mode="bilinear").round_().byte()
    return np.asarray(planes.permute(0, 2, 3, 1).contiguous().cpu().numpy(), np.uint8)
