"""A hand-crafted encoder on the processor: images in, descriptors out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.encoder import fit_pixels, fit_shorter_side
from vpr_ros.encoders.hand_crafted import HandCraftedEncoder
from vpr_ros.engine import Meanwhile, nothing
from vpr_ros.engines.gpu_jpeg import GpuImage
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import CameraImage

logger = logging.getLogger(__name__)


class HandCraftedEngine:
    """Encodes images by local features as `Engine` does by a network.

    Args:
        encoder: whose descriptors they are.
        device: that was asked for; OpenCV's SIFT is computed by the processor alone.

    Attributes:
        fingerprint: of the encoder, which a map must share.
        dimension: P, the length of a descriptor.
        input_size: pixels of the shorter side that images are resized to.
        device: the CPU.
        runs_on: the same, for people.
        jpeg: nothing decodes JPEG there.
    """

    jpeg = None

    def __init__(self, encoder: HandCraftedEncoder, device: torch.device) -> None:
        if device.type != "cpu":
            logger.warning("SIFT is computed by the processor: %s is not used", device)
        self.fingerprint = encoder.fingerprint()
        self.dimension = encoder.dimension
        self.input_size = encoder.architecture.input_size
        self.device = torch.device("cpu")
        self.runs_on = "cpu by OpenCV"
        self._encoder = encoder

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the (N, P) descriptors, of unit length, of N (H, W, 3) RGB images."""
        descriptors = np.empty((len(images), self.dimension), np.float32)
        for number, image in enumerate(images):
            descriptors[number] = self._encoder(self._encoder.local(self.fit(image))).numpy()
        return descriptors

    def encode_planes(
        self, planes: Tensor, meanwhile: Callable[[], object] = lambda: None
    ) -> NDArray[np.float32]:
        """Return the (N, P) descriptors of (N, 3, H, W) RGB bytes; call `meanwhile` once."""
        meanwhile()
        return self.encode(list(planes.permute(0, 2, 3, 1).contiguous().numpy()))

    def encode_one(
        self, image: CameraImage | GpuImage, meanwhile: Meanwhile = nothing
    ) -> NDArray[np.float32]:
        """Return the (P,) descriptor of one image of a camera; call `meanwhile` once."""
        meanwhile(None)
        return np.asarray(self.encode([image.rgb()])[0], np.float32)

    def fit(self, image: Image) -> Image:
        """Return an RGB image at the encoder's input size; raises InputError for one that cannot be."""
        return np.ascontiguousarray(
            fit_pixels(image, lambda planes: fit_shorter_side(planes, self.input_size))
        )
