"""JPEG decoded on a GPU, where its pixels are wanted: by nvJPEG, through torchvision."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from vpr_ros.errors import first_line
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import RGB, Order

logger = logging.getLogger(__name__)
#: How many times as large as the encoder's input an image must be. nvJPEG repeats the pixels of subsampled
#: colours where other decoders interpolate: of an image that is halved nothing of it is left, of others the
#: descriptor's cosine to that of a map made on a CPU may fall to 0.996. (Of batches, which are not in such a
#: hurry, `jpeg_batches` interpolates them.)
SHRUNK = 2.0
ORIENTATION = 0x0112  # EXIF
_UPRIGHT = 1
#: What Adobe's marker says of colours that are luma and chroma, as they are without it.
_YCBCR = 1


def plain(header: PillowImage.Image) -> bool:
    """Tell, by its header, whether a GPU decodes a file as a processor does, but for subsampled colours."""
    if header.format != "JPEG" or header.mode != "RGB" or header.info.get("progressive"):
        return False
    if header.info.get("adobe_transform", _YCBCR) != _YCBCR:
        return False
    return "exif" not in header.info or header.getexif().get(ORIENTATION, _UPRIGHT) == _UPRIGHT


@dataclass(frozen=True, eq=False)
class GpuImage:
    """One image on a GPU.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, of any strides.
        order: of the channels.
    """

    pixels: Tensor
    order: Order = RGB

    def rgb(self) -> Image:
        """Return (H, W, 3) RGB in the processor's memory."""
        return np.ascontiguousarray(self.pixels.cpu().numpy())


class JpegDecoder:
    """Decodes what a GPU decodes as a processor would; everything else it leaves alone.

    Args:
        device: a GPU.
        input_size: of the encoder, pixels of the shorter side.

    Attributes:
        device: the GPU.

    Raises RuntimeError or ImportError where torchvision comes without nvJPEG.
    """

    def __init__(self, device: torch.device, input_size: int) -> None:
        # some seconds of loading, which only those pay for who use it
        from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415

        self._decode, self._mode, self.device = decode_jpeg, ImageReadMode.RGB, device
        self._least = SHRUNK * input_size
        # the first image of all takes many times as long: let it not be one of the robot's
        first = BytesIO()
        PillowImage.new("RGB", (16, 16)).save(first, "JPEG")
        self.planes([np.frombuffer(first.getvalue(), np.uint8)])

    def decode(self, header: PillowImage.Image, data: NDArray[np.uint8]) -> GpuImage | None:
        """Return the image, or None where the processor is to decode it, or refuse it.

        Args:
            header: of the file, read by Pillow.
            data: (n,) bytes of the whole file.
        """
        if min(header.size) < self._least or not plain(header):
            return None
        try:
            planes = self.planes([data])[0]
        except RuntimeError as error:
            logger.debug("nvJPEG: %s", first_line(error))
            return None
        return GpuImage(planes.permute(1, 2, 0))

    def planes(self, files: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Return (3, H, W) RGB of each file's (n,) bytes, on the GPU; many at once take a fraction each.

        Raises RuntimeError where one of them does not decode.
        """
        decoded: list[Tensor] = self._decode([torch.tensor(data) for data in files], self._mode, self.device)
        return decoded


def jpeg_decoder(device: torch.device, input_size: int) -> JpegDecoder | None:
    """Return a decoder, or None where the device is no GPU or torchvision comes without nvJPEG."""
    if device.type != "cuda":
        return None
    try:
        return JpegDecoder(device, input_size)
    except (RuntimeError, ImportError) as error:
        logger.warning("JPEG is decoded on the processor: %s", first_line(error))
        return None
