"""A camera's image to its descriptor as one CUDA graph: all that follows one copy of its bytes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Runs before capture, in which cuDNN chooses its kernels.
WARM_UP = 3
# a view of a message is read-only, and nothing here writes to it
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class ImageGraph:
    """Encodes images of one layout on a GPU.

    Args:
        encode: (H, W, C) bytes on the GPU to the (P,) descriptor there.
        shape: of the images: H, W, C.
        device: the GPU.
        decoded: whether the images lie there, as a decoder left them; else in the processor's memory.
    """

    @torch.inference_mode()
    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        shape: tuple[int, int, int],
        device: torch.device,
        decoded: bool = False,
    ) -> None:
        self._bytes = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream), torch.backends.cudnn.flags(benchmark=True):
            for _ in range(WARM_UP):
                self._descriptor = encode(self._bytes).cpu().pin_memory()
            self._input = self._bytes if decoded else torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            # another thread may be opening a map on the same GPU
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                if not decoded:
                    self._bytes.copy_(self._input, non_blocking=True)
                self._descriptor.copy_(encode(self._bytes), non_blocking=True)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, meanwhile: Callable[[], object]) -> NDArray[np.float32]:
        """Return the (P,) descriptor of (H, W, C) bytes; call `meanwhile` while the GPU is at work."""
        if pixels.is_cuda:
            self._stream.wait_stream(torch.cuda.current_stream(pixels.device))
        with torch.cuda.stream(self._stream):
            self._input.copy_(pixels)  # in the processor's memory on several cores
            self._graph.replay()
        try:
            meanwhile()
        finally:
            self._stream.synchronize()
        return self._descriptor.numpy().copy()
