"""The descriptors of a map in the memory of a GPU, for exact search."""

from __future__ import annotations

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

#: Places that are put on the GPU at a time.
BLOCK = 8192
#: Places beyond k that are candidates: products of half precision may have them in another order.
SPARE = 12


class ResidentMap:
    """Searches the vectors of a FAISS index, by inner product, on a GPU.

    Products of half precision choose the candidates, float32 ones of the same vectors their order:
    similarities differ from the index's by what rounding its vectors costs, some 1e-5.

    Args:
        index: which can reconstruct its vectors.
        device: where they are kept, two bytes a number.
    """

    def __init__(self, index: faiss.Index, device: torch.device) -> None:
        self._vectors = torch.empty((index.ntotal, index.d), dtype=torch.float16, device=device)
        for start in range(0, index.ntotal, BLOCK):
            block = index.reconstruct_n(start, min(BLOCK, index.ntotal - start))
            self._vectors[start : start + len(block)] = torch.from_numpy(block).to(device)

    @torch.inference_mode()
    def search(
        self, descriptors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the (M, k) similarities, falling, and numbers of the vectors nearest to (M, P) ones."""
        count = len(self._vectors)
        queries = torch.from_numpy(descriptors).to(self._vectors.device)
        rough = F.linear(queries.half(), self._vectors).topk(min(k + SPARE, count), dim=1).indices
        exact = (self._vectors[rough].float() @ queries[..., None])[..., 0]
        similarities, order = exact.topk(min(k, count), dim=1)
        return similarities.cpu().numpy(), rough.gather(1, order).cpu().numpy()

    @torch.inference_mode()
    def similarities(self, descriptor: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (M,) similarities, of M vectors to one (P,) descriptor."""
        vectors = self._vectors[torch.from_numpy(places).to(self._vectors.device)]
        query = torch.from_numpy(descriptor).to(vectors.device)
        return np.asarray((vectors.float() @ query).cpu().numpy(), np.float32)


def fits(index: faiss.Index, device: torch.device) -> bool:
    """Tell whether the vectors take at most half of what is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * index.ntotal * index.d <= free / 2
