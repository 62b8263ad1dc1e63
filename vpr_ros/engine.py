"""An encoder on one device: images in, descriptors out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.encoder import Encoder, fit_pixels
from vpr_ros.engines.gpu_jpeg import GpuImage, JpegDecoder, jpeg_decoder
from vpr_ros.engines.half_encoder import HalfEncoder
from vpr_ros.engines.image_graph import ImageGraph
from vpr_ros.engines.preparation import Layout
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import CameraImage

DEVICES = ("auto", "cuda", "cpu")
#: Graphs that are kept, of the layouts that came last: a robot has few cameras.
GRAPHS = 4
#: Threads that copy an image for the GPU: more are no faster, and at 30 Hz are waited for.
COPY_THREADS = 4
#: What one graph is for: a layout, and whether the images lie on the GPU already.
_Kind = tuple[Layout, bool]
#: What is done while a GPU encodes. It is given the (P,) descriptor as it will lie there for what is launched
#: on the current stream, or None where nothing can be launched behind the encoding.
Meanwhile = Callable[[Tensor | None], object]


def nothing(_: Tensor | None) -> None:
    """Do nothing meanwhile."""


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; 'auto' is the GPU where there is one.

    Raises InputError for a GPU that is not there: a silent fall-back would only look slow.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":", maxsplit=1)[0] not in DEVICES:
        raise InputError(f"unknown device '{name}': expected one of {', '.join(DEVICES)}")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"unknown device '{name}': expected auto, cpu, cuda or cuda:0, cuda:1 ..."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device '{name}': PyTorch finds no GPU here: use 'auto' or 'cpu'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device '{name}': PyTorch finds {torch.cuda.device_count()} GPUs here")
    return device


def alike(images: Sequence[Image]) -> list[list[int]]:
    """Return the numbers of the images of each size."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        by_size.setdefault(image.shape, []).append(number)
    return list(by_size.values())


class Engine:
    """Encodes images on one device, with the trunk in half precision on a GPU.

    Args:
        encoder: whose descriptors they are.
        device: where it encodes.
        bfloat16: on a CPU that is faster at it, with the trunk in bfloat16 but for its first convolution.

    Attributes:
        fingerprint: of the encoder, which a map must share.
        dimension: P, the length of a descriptor.
        input_size: pixels of the shorter side that images are resized to.
        device: where it encodes.
        runs_on: the same, for people.
        encoder: what computes there.
    """

    def __init__(self, encoder: Encoder, device: torch.device, bfloat16: bool = False) -> None:
        self.fingerprint = encoder.fingerprint()
        self.dimension = encoder.dimension
        self.input_size = encoder.architecture.input_size
        self.device, self.runs_on = device, str(device)
        self._fit_size = encoder.fit_size
        self.encoder = HalfEncoder(encoder, device, bfloat16)
        if self.encoder.in_bfloat16:
            self.runs_on += " in bfloat16"
        if device.type == "cuda":
            torch.set_num_threads(min(COPY_THREADS, torch.get_num_threads()))
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: OrderedDict[_Kind, ImageGraph] = OrderedDict()  # the one used last is last
        self._last: _Kind | None = None

    @cached_property
    def jpeg(self) -> JpegDecoder | None:
        """What decodes JPEG on its GPU, for those who have JPEG; None where nothing does."""
        return jpeg_decoder(self.device, self.input_size)

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the (N, P) descriptors, of unit length, of N (H, W, 3) RGB images.

        Images of one size are encoded together: give as many as memory allows. Two threads keep a GPU busy:
        it copies the images of one while it encodes those of the other.
        """
        descriptors = np.empty((len(images), self.dimension), np.float32)
        for numbers in alike(images):
            batch = self._there([images[number] for number in numbers])
            descriptors[numbers] = self.encode_planes(batch.permute(0, 3, 1, 2))
        return descriptors

    @torch.inference_mode()
    def encode_planes(
        self, planes: Tensor, meanwhile: Callable[[], object] = lambda: None
    ) -> NDArray[np.float32]:
        """Return the (N, P) descriptors of (N, 3, H, W) RGB bytes that lie on its device.

        Args:
            planes: the images; its current stream may read them at once.
            meanwhile: is called once, while a GPU is at work.
        """
        encoded = self.encoder(self._fit_size(planes))
        if self.device.type != "cuda":
            meanwhile()
            return np.asarray(encoded.numpy(), np.float32)
        stream = torch.cuda.current_stream(self.device)
        planes.record_stream(stream)  # another's memory, which must not have it back too early
        here = encoded.to("cpu", non_blocking=True)
        copied = stream.record_event()  # what other threads add to the stream is not waited for
        meanwhile()
        copied.synchronize()
        return np.asarray(here.numpy(), np.float32)

    def fit(self, image: Image) -> Image:
        """Return an RGB image at the encoder's input size, as `encode` brings it there on a CPU.

        Raises InputError for one that cannot be.
        """
        return fit_pixels(image, self._fit_size)

    def _there(self, images: list[Image]) -> Tensor:
        """Return (B, H, W, 3) bytes on the device, of images of one size."""
        if self.device.type != "cuda":
            return torch.from_numpy(np.stack(images))
        pinned = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=True)
        np.stack(images, out=pinned.numpy())
        with torch.cuda.stream(self._copies):
            there = pinned.to(self.device, non_blocking=True)
        torch.cuda.current_stream(self.device).wait_stream(self._copies)
        return there

    def encode_one(
        self, image: CameraImage | GpuImage, meanwhile: Meanwhile = nothing
    ) -> NDArray[np.float32]:
        """Return the (P,) descriptor of one image, that of `encode` within half precision.

        On a GPU, from the second image of a size on, all but a copy of its bytes is one CUDA graph.

        Args:
            image: of a camera.
            meanwhile: is called once, while a GPU is at work.
        """
        if self.device.type != "cuda":
            meanwhile(None)
            return self._encode_alone(image)
        pixels = torch.as_tensor(image.pixels)
        height, width, channels = pixels.shape
        kind = (height, width, channels, image.order), pixels.is_cuda
        graph = self._graphs.pop(kind, None)
        if graph is None:
            if kind != self._last:  # what comes once is not worth a graph
                self._last = kind
                meanwhile(None)
                return self._encode_alone(image)
            graph = self._capture(*kind)
        self._graphs[kind] = graph
        if len(self._graphs) > GRAPHS:
            self._graphs.popitem(last=False)
        return graph(pixels, meanwhile)

    def _capture(self, layout: Layout, decoded: bool) -> ImageGraph:
        prepare = self.encoder.preparation(layout, self.input_size)

        def encode(pixels: Tensor) -> Tensor:
            return self.encoder.describe(prepare(pixels))[0]

        return ImageGraph(encode, layout[:3], self._stream, decoded)

    def _encode_alone(self, image: CameraImage | GpuImage) -> NDArray[np.float32]:
        return np.asarray(self.encode([image.rgb()])[0], np.float32)
