"""The search for one descriptor as one CUDA graph: its kernels take less than launching them one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Runs before capture, in which cuBLAS chooses its kernels.
WARM_UP = 3
#: Vectors that may be named beside those that are found: a filter rarely follows more places.
NAMED = 256


class SearchGraph:
    """Searches on a GPU, for one descriptor at a time.

    Args:
        search: (1, P) float32 on the GPU to the (1, k) similarities and numbers there.
        compare: (P,) and (M,) numbers of vectors to the (M,) similarities of those.
        dimension: P.
        device: the GPU.
    """

    @torch.inference_mode()
    def __init__(
        self,
        search: Callable[[Tensor], tuple[Tensor, Tensor]],
        compare: Callable[[Tensor, Tensor], Tensor],
        dimension: int,
        device: torch.device,
    ) -> None:
        self._query, self._there = (
            torch.zeros(dimension, pin_memory=True),
            torch.zeros(dimension, device=device),
        )
        self._named = torch.zeros(NAMED, dtype=torch.int64, pin_memory=True)
        named = torch.zeros(NAMED, dtype=torch.int64, device=device)
        self._count = 0

        def answer() -> tuple[Tensor, ...]:
            return *search(self._there[None]), compare(self._there, named)

        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                answers = answer()
            self._answers = [each.cpu().pin_memory() for each in answers]
            # another thread may be encoding on the same GPU
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                named.copy_(self._named, non_blocking=True)
                for here, each in zip(self._answers, answer(), strict=True):
                    here.copy_(each, non_blocking=True)

    @torch.inference_mode()
    def __call__(self, descriptors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the (1, k) similarities and numbers for a (1, P) descriptor."""
        self._query.copy_(torch.from_numpy(descriptors[0]))
        with torch.cuda.stream(self._stream):
            self.ask(self._query, np.empty(0, np.int64))
        similarities, numbers, _ = self.found()
        return similarities[None], numbers[None]

    @torch.inference_mode()
    def ask(self, descriptor: Tensor, named: NDArray[np.int64]) -> None:
        """Have the (P,) descriptor searched for, after what the current stream is at; `found` is to follow.

        Args:
            descriptor: on the GPU, or in pinned memory.
            named: at most NAMED numbers of vectors whose similarities are wanted too.
        """
        self._count = len(named)
        self._named[: self._count] = torch.from_numpy(named)
        self._there.copy_(descriptor, non_blocking=True)
        self._graph.replay()
        self._done.record()

    def found(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return the (k,) similarities and numbers, and the similarities of those named."""
        self._done.synchronize()
        (similarities,), (numbers,), named = self._answers
        return similarities.numpy().copy(), numbers.numpy().copy(), named[: self._count].numpy().copy()
