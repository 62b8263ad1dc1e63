"""A camera's bytes on a GPU to what the trunk takes there: ordered, resized and normalised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vpr_ros.images.camera_image import Order

#: Height, width, channels and their order.
Layout = tuple[int, int, int, Order]
#: Channels that a trunk on a GPU takes: red, green, blue and one of zeros, with which cuDNN is faster.
CHANNELS = 4


class Preparation:
    """Prepares images of one layout, in memory that it keeps, resized as `Encoder.fit_size` does.

    Args:
        layout: of the images.
        input_size: pixels of the shorter side that they are resized to.
        mean: (3, 1, 1) of RGB in 0-255.
        scale: (3, 1, 1) that RGB minus mean is multiplied by.
        precision: of the result.

    Shape:
        - Input: (H, W, C), uint8.
        - Output: (1, 4, h, w), channels-last, the last channel zero; the next call overwrites it.
    """

    def __init__(
        self, layout: Layout, input_size: int, mean: Tensor, scale: Tensor, precision: torch.dtype
    ) -> None:
        height, width, _, self._order = layout
        self._size = [side * input_size // min(height, width) for side in (height, width)]
        self._scale, self._offset = scale, -mean * scale
        self._planes = torch.empty(1, 3, height, width, device=mean.device)
        # B H W C in memory
        self._prepared = torch.zeros(1, *self._size, CHANNELS, dtype=precision, device=mean.device).permute(
            0, 3, 1, 2
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        for colour, channel in enumerate(self._order):
            self._planes[0, colour].copy_(pixels[..., channel])
        resized = self._planes
        if self._size != list(pixels.shape[:2]):
            resized = F.interpolate(resized, self._size, mode="bilinear", antialias=True)
            # to bytes, as elsewhere: of a dark picture the fractions alone would make another descriptor
            resized = resized.round_()
        torch.addcmul(self._offset, resized, self._scale, out=self._prepared[:, :3])
        prepared: Tensor = self._prepared
        return prepared
