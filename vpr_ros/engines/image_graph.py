"""A camera's image to its descriptor on a GPU: all that follows the copy of its bytes is one CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Runs before capture, in which cuDNN chooses its kernels.
WARM_UP = 3
#: Bytes, about, that are on their way to the GPU while as many more are copied into pinned memory.
BAND = 3 << 20
#: cuDNN's kernels are chosen by trying them. Nothing here is float32 to it: TF32, allowed or not, only names
#: the choice, and by its default name it is that of the first image, for which nothing was tried.
TRYING = {"benchmark": True, "allow_tf32": False}
# a view of a message is read-only, and nothing here writes to it
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class ImageGraph:
    """Encodes images of one layout on a GPU.

    Args:
        encode: (H, W, C) bytes on the GPU to the (P,) descriptor there.
        shape: of the images: H, W, C.
        stream: of the GPU, on which it encodes.
        decoded: whether the images lie there, as a decoder left them; else in the processor's memory.
    """

    @torch.inference_mode()
    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        shape: tuple[int, int, int],
        stream: torch.cuda.Stream,
        decoded: bool = False,
    ) -> None:
        self._stream = stream
        self._bytes = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
        self._bands: list[tuple[slice, Tensor, Tensor]] = []  # of the image, in pinned memory, on the GPU
        if not decoded:
            pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            rows = max(1, BAND // (shape[1] * shape[2]))
            for band in (slice(first, first + rows) for first in range(0, shape[0], rows)):
                self._bands.append((band, pinned[band], self._bytes[band]))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream), torch.backends.cudnn.flags(**TRYING):
            for _ in range(WARM_UP):
                self._there = encode(self._bytes).clone()
            self._here = self._there.cpu().pin_memory()
            # another thread may be opening a map on the same GPU
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._there.copy_(encode(self._bytes))
                self._here.copy_(self._there, non_blocking=True)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, meanwhile: Callable[[Tensor], object]) -> NDArray[np.float32]:
        """Return the (P,) descriptor of (H, W, C) bytes.

        Args:
            pixels: of the image.
            meanwhile: is called while the GPU is at work, with the descriptor as it will lie there for what
                is launched on the current stream.
        """
        if pixels.is_cuda:
            self._stream.wait_stream(torch.cuda.current_stream(pixels.device))
        with torch.cuda.stream(self._stream):
            self._upload(pixels)
            self._graph.replay()
            encoded = self._stream.record_event()
            try:
                meanwhile(self._there)
            finally:
                encoded.synchronize()
        return self._here.numpy().copy()

    def _upload(self, pixels: Tensor) -> None:
        if not self._bands:
            self._bytes.copy_(pixels)
        for band, pinned, there in self._bands:
            pinned.copy_(pixels[band])  # by several of the processor's cores
            there.copy_(pinned, non_blocking=True)
