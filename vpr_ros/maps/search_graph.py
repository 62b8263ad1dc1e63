"""The search for one descriptor as one CUDA graph: its kernels take less than launching them one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Runs before capture, in which cuBLAS chooses its kernels.
WARM_UP = 3


class SearchGraph:
    """Searches on a GPU, from and to the processor's memory.

    Args:
        search: (1, P) float32 on the GPU to the (1, k) similarities and numbers there.
        dimension: P.
        device: the GPU.
    """

    @torch.inference_mode()
    def __init__(
        self, search: Callable[[Tensor], tuple[Tensor, Tensor]], dimension: int, device: torch.device
    ) -> None:
        self._query = torch.zeros(1, dimension, pin_memory=True)
        there = torch.zeros(1, dimension, device=device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                found = search(there)
            self._found = [each.cpu().pin_memory() for each in found]
            # another thread may be encoding on the same GPU
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                there.copy_(self._query, non_blocking=True)
                for here, each in zip(self._found, search(there), strict=True):
                    here.copy_(each, non_blocking=True)

    @torch.inference_mode()
    def __call__(self, descriptors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the (1, k) similarities and numbers for a (1, P) descriptor."""
        self._query.copy_(torch.from_numpy(descriptors))
        with torch.cuda.stream(self._stream):
            self._graph.replay()
            self._stream.synchronize()
        similarities, numbers = self._found
        return similarities.numpy().copy(), numbers.numpy().copy()
