"""The descriptors of a map in the memory of a GPU, for exact search."""

from __future__ import annotations

from typing import cast

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

#: Places that are put on the GPU at a time.
BLOCK = 8192
#: Places beyond k whose similarity is worked out again: half precision may have them in another order.
SPARE = 12


class ResidentMap:
    """Searches the vectors of a FAISS index, by inner product, on a GPU.

    The GPU's half precision chooses the candidates; their similarities and order are float32, from the index.

    Args:
        index: which can reconstruct its vectors.
        device: where they are kept, two bytes a number.
    """

    def __init__(self, index: faiss.Index, device: torch.device) -> None:
        self._index = index
        self._vectors = torch.empty((index.ntotal, index.d), dtype=torch.float16, device=device)
        for start in range(0, index.ntotal, BLOCK):
            block = index.reconstruct_n(start, min(BLOCK, index.ntotal - start))
            self._vectors[start : start + len(block)] = torch.from_numpy(block).to(device)

    @torch.inference_mode()
    def search(
        self, descriptors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the (M, k) similarities, falling, and numbers of the vectors nearest to (M, P) ones."""
        k = min(k, self._index.ntotal)
        queries = torch.from_numpy(descriptors).to(self._vectors)
        rough = F.linear(queries, self._vectors).topk(min(k + SPARE, self._index.ntotal), dim=1)
        candidates = rough.indices.cpu().numpy()
        vectors = self._index.reconstruct_batch(candidates.ravel()).reshape(*candidates.shape, -1)
        similarities = np.einsum("mcp,mp->mc", vectors, descriptors)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(similarities, order, axis=1), np.take_along_axis(candidates, order, axis=1)
        return cast("tuple[NDArray[np.float32], NDArray[np.int64]]", found)

    @torch.inference_mode()
    def similarities(self, descriptor: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (M,) similarities, of half precision, of M vectors to one (P,) descriptor."""
        vectors = self._vectors[torch.from_numpy(places).to(self._vectors.device)]
        query = torch.from_numpy(descriptor).to(self._vectors)
        return np.asarray((vectors @ query).float().cpu().numpy(), np.float32)


def fits(index: faiss.Index, device: torch.device) -> bool:
    """Tell whether the vectors take at most half of what is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * index.ntotal * index.d <= free / 2
