"""An encoder on one device: images in, descriptors out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.camera_image import CameraImage
from vpr_ros.encoder import Encoder
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.half_encoder import HalfEncoder
from vpr_ros.image_graph import ImageGraph
from vpr_ros.preparation import Layout

DEVICES = ("auto", "cuda", "cpu")
#: Graphs that are kept, of the layouts that came last: a robot has few cameras.
GRAPHS = 4
#: Threads that copy an image for the GPU: more are no faster, and at 30 Hz are waited for.
COPY_THREADS = 4


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


class Engine:
    """Encodes images on one device, with the trunk in half precision on a GPU.

    Args:
        encoder: whose descriptors they are.
        device: where it encodes.
        bfloat16: on a CPU, with the trunk in bfloat16.

    Attributes:
        fingerprint: of the encoder, which a map must share.
        dimension: P, the length of a descriptor.
        input_size: pixels of the shorter side that images are resized to.
        device: where it encodes.
        encoder: what computes there.
    """

    def __init__(self, encoder: Encoder, device: torch.device, bfloat16: bool = False) -> None:
        self.fingerprint = encoder.fingerprint()
        self.dimension = encoder.dimension
        self.input_size = encoder.architecture.input_size
        self.device = device
        self._fit_size = encoder.fit_size
        self.encoder = HalfEncoder(encoder, device, bfloat16)
        if device.type == "cuda":
            torch.set_num_threads(min(COPY_THREADS, torch.get_num_threads()))
        self._graphs: OrderedDict[Layout, ImageGraph] = OrderedDict()  # the one used last is last
        self._last: Layout | None = None

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the (N, P) descriptors, of unit length, of N (H, W, 3) RGB images.

        Images of one size are encoded together: give as many as memory allows.
        """
        descriptors = np.empty((len(images), self.dimension), np.float32)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(number)
        for numbers in by_size.values():
            batch = torch.from_numpy(np.stack([images[number] for number in numbers])).to(self.device)
            encoded = self.encoder(self._fit_size(batch.permute(0, 3, 1, 2)))
            descriptors[numbers] = encoded.cpu().numpy()
        return descriptors

    def encode_one(self, image: CameraImage) -> NDArray[np.float32]:
        """Return the (P,) descriptor of one image, that of `encode` within half precision.

        On a GPU, from the second image of a size on, all but one copy of its bytes is one CUDA graph.
        """
        if self.device.type != "cuda":
            return self._encode_alone(image)
        height, width, channels = image.pixels.shape
        layout = (height, width, channels, image.order)
        graph = self._graphs.pop(layout, None)
        if graph is None:
            if layout != self._last:  # what comes once is not worth a graph
                self._last = layout
                return self._encode_alone(image)
            graph = self._capture(layout)
        self._graphs[layout] = graph
        if len(self._graphs) > GRAPHS:
            self._graphs.popitem(last=False)
        return graph(image)

    def _capture(self, layout: Layout) -> ImageGraph:
        prepare = self.encoder.preparation(layout, self.input_size)

        def encode(pixels: Tensor) -> Tensor:
            return self.encoder.describe(prepare(pixels))[0]

        return ImageGraph(encode, layout[:3], self.device)

    def _encode_alone(self, image: CameraImage) -> NDArray[np.float32]:
        return np.asarray(self.encode([image.rgb()])[0], np.float32)
