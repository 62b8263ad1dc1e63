"""JPEGs of one size decoded together on a GPU, to the pixels that a processor would decode them to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from threading import local

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import get_sampling
from torch import Tensor

from vpr_ros.engines.gpu_jpeg import JpegDecoder, plain
from vpr_ros.geotagged import Image, Undecoded
from vpr_ros.images.pixels import MAX_PIXELS
from vpr_ros.images.small_picture import shrink_planes

#: Pixels down and across of one colour, by Pillow's number: 4:4:4, 4:2:2 and 4:2:0.
_SUBSAMPLING = {0: (1, 1), 1: (1, 2), 2: (2, 2)}
_END = b"\xff\xd9"
#: JFIF's luma of red, green and blue, and what chroma adds to them.
_LUMA = (0.299, 0.587, 0.114)
_OF_BLUE, _OF_RED = (0.0, -0.344136, 1.772), (1.402, -0.714136, 0.0)


@dataclass(frozen=True, eq=False)
class JpegFile:
    """A JPEG file that a GPU decodes.

    Attributes:
        data: (n,) its bytes.
        height: pixels.
        width: pixels.
        subsampling: pixels down and across of one colour.
        rgb: decodes it on the processor instead.
    """

    data: NDArray[np.uint8]
    height: int
    width: int
    subsampling: tuple[int, int]
    rgb: Callable[[], Image]


def jpeg_file(image: Undecoded) -> JpegFile | None:
    """Return an image for a GPU to decode, or None where the processor is to decode it, or refuse it."""
    if image.data is None:
        return None
    data = np.frombuffer(image.data, np.uint8)
    if data[-len(_END) :].tobytes() != _END:  # cut off: nvJPEG may make a picture of what is left
        return None
    try:
        with PillowImage.open(BytesIO(data.data), formats=("JPEG",)) as header:  # reads no further
            width, height = header.size
            subsampling = _SUBSAMPLING.get(get_sampling(header))
            if subsampling is None or not plain(header) or not 0 < height * width <= MAX_PIXELS:
                return None
    except Exception:  # a damaged file raises whatever its parser stumbles over
        return None
    return JpegFile(data, height, width, subsampling, image.rgb)


class JpegBatches:
    """Decodes JPEGs of one size and subsampling, together; for several threads.

    Args:
        decoder: of one GPU.
        picture_width: of the small picture that is made of each; 0 for none.
    """

    def __init__(self, decoder: JpegDecoder, picture_width: int) -> None:
        self._decoder = decoder
        self._picture_width = picture_width
        self._of_thread = local()

    @torch.inference_mode()
    def decode(self, files: Sequence[JpegFile]) -> tuple[Tensor, list[Image]]:
        """Return (N, 3, H, W) RGB bytes on the GPU and, where they are wanted, N small pictures here.

        Raises RuntimeError where one of them does not decode.
        """
        # torchvision decodes on a stream of its own, at once, into memory of the current one: whoever had
        # that memory before must be done with it, so that each thread has its own, and waits for it
        stream = self._stream()
        with torch.cuda.stream(stream):
            decoded = self._decoder.planes([file.data for file in files])
            planes = with_interpolated_colours(torch.stack(decoded), files[0].subsampling)
            small = list(shrink_planes(planes, self._picture_width)) if self._picture_width else []
            if stream is not None:
                stream.synchronize()
        return planes, small

    def _stream(self) -> torch.cuda.Stream | None:
        """Return this thread's stream, of high priority: it works in the gaps that the network leaves."""
        if self._decoder.device.type != "cuda":
            return None
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = torch.cuda.Stream(self._decoder.device, priority=-1)  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._of_thread.stream
        return stream


def with_interpolated_colours(planes: Tensor, subsampling: tuple[int, int]) -> Tensor:
    """Return images as a processor decodes them, of those in which subsampled colours are repeated.

    Of images that are not shrunk repeated colours change the descriptor: its cosine falls to 0.996. These
    keep 0.9999.

    Args:
        planes: (N, 3, H, W) RGB bytes.
        subsampling: pixels down and across of one colour.
    """
    if subsampling == (1, 1):
        return planes
    height, width = planes.shape[-2:]
    luma = torch.tensor(_LUMA, device=planes.device).view(3, 1, 1)
    of_blue, of_red = (
        torch.tensor(weights, dtype=torch.half, device=planes.device).view(3, 1, 1)
        for weights in (_OF_BLUE, _OF_RED)
    )

    def added(chroma: Tensor) -> Tensor:
        return (chroma[:, :1] * of_blue).addcmul_(chroma[:, 1:], of_red).round_()

    # what is as large as the images is in half precision, which holds it: it costs what moving it costs
    mean = F.avg_pool2d(planes.half(), subsampling, ceil_mode=True, count_include_pad=False).float()
    grey = (mean * luma).sum(1, keepdim=True)
    blue, red = (mean[:, 2:] - grey) / _OF_BLUE[2], (mean[:, :1] - grey) / _OF_RED[0]
    chroma = torch.cat([blue, red], 1).round_().half()
    repeated = F.interpolate(added(chroma), scale_factor=subsampling, mode="nearest")
    interpolated = added(F.interpolate(chroma, scale_factor=subsampling, mode="bilinear").round_())
    change = interpolated.sub_(repeated)[..., :height, :width]
    return (planes + change).clamp_(0, 255).byte()
