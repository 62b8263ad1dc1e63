"""The descriptors of a map in the memory of a GPU, for exact search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.maps.search_graph import NAMED, SearchGraph

#: Places beyond k that are candidates: products of half precision may have them in another order.
SPARE = 12


@dataclass(frozen=True, eq=False)
class Found:
    """What is known of the vectors for one descriptor.

    Attributes:
        similarities: (k,), falling, of the nearest ones.
        places: (k,) their numbers.
        known: (M,) rising numbers of all whose similarity is known, the nearest among them.
        of_known: (M,) their similarities.
    """

    similarities: NDArray[np.float32]
    places: NDArray[np.int64]
    known: NDArray[np.int64]
    of_known: NDArray[np.float32]

    def look(self, places: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Return the similarities of these places; None where one of them is not known."""
        at = np.searchsorted(self.known, places).clip(max=len(self.known) - 1)
        return self.of_known[at] if (self.known[at] == places).all() else None


class ResidentMap:
    """Searches descriptors, by inner product, on a GPU.

    Products of half precision choose the candidates, float32 ones of the same vectors their order:
    similarities differ from the map's by what rounding its vectors costs, some 1e-5.

    Args:
        blocks: the number of the first, and (n, P) descriptors, of some places after the others.
        shape: N places and P dimensions.
        device: where they are kept, two bytes a number.
    """

    def __init__(
        self,
        blocks: Iterable[tuple[int, NDArray[np.float32]]],
        shape: tuple[int, int],
        device: torch.device,
    ) -> None:
        self._vectors = torch.empty(shape, dtype=torch.float16, device=device)
        for start, block in blocks:
            self._vectors[start : start + len(block)] = torch.from_numpy(block).to(device)
        self._graph: tuple[int, SearchGraph] | None = None  # of the k used last

    @torch.inference_mode()
    def search(
        self, descriptors: NDArray[np.float32], k: int, within: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the (M, k) similarities, falling, and numbers of the vectors nearest to (M, P) ones.

        Args:
            descriptors: of unit length.
            k: is cut to the number of vectors.
            within: the only vectors that count, each once; all of them where it is None.
        """
        device = self._vectors.device
        if within is None and len(descriptors) == 1 and device.type == "cuda":
            return self._graph_of(k)(descriptors)
        chosen = None if within is None else torch.from_numpy(within).to(device)
        similarities, numbers = self._nearest(torch.from_numpy(descriptors).to(device), k, chosen)
        return similarities.cpu().numpy(), numbers.cpu().numpy()

    def ask(self, descriptor: Tensor, k: int, named: NDArray[np.int64]) -> Callable[[], Found]:
        """Have the k vectors nearest to a descriptor searched for; return what waits for them.

        Args:
            descriptor: (P,), of unit length, on the GPU or on its way there by the current stream.
            k: is cut to the number of vectors.
            named: others whose similarities will be asked for; where they are too many, none of them.
        """
        wanted = named if len(named) <= NAMED else named[:0]
        graph = self._graph_of(k)
        graph.ask(descriptor, wanted)

        def found() -> Found:
            similarities, places, of_named = graph.found()
            known, first = np.unique(np.concatenate([wanted, places]), return_index=True)
            return Found(similarities, places, known, np.concatenate([of_named, similarities])[first])

        return found

    def _graph_of(self, k: int) -> SearchGraph:
        if self._graph is None or self._graph[0] != k:
            search, device = partial(self._nearest, k=k), self._vectors.device
            self._graph = k, SearchGraph(search, self._compare, self._vectors.shape[1], device)
        return self._graph[1]

    def _compare(self, query: Tensor, numbers: Tensor) -> Tensor:
        return self._vectors[numbers].float() @ query

    def _nearest(self, queries: Tensor, k: int, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        products = F.linear(queries.half(), self._vectors)
        if chosen is not None:  # after the product: the vectors of many would be a second copy of the map
            products = products[:, chosen]
        count = products.shape[1]
        rough = products.topk(min(k + SPARE, count), dim=1, sorted=False).indices
        if chosen is not None:
            rough = chosen[rough]
        exact = (self._vectors[rough].float() @ queries[..., None])[..., 0]
        similarities, order = exact.topk(min(k, count), dim=1)
        return similarities, rough.gather(1, order)

    @torch.inference_mode()
    def similarities(self, descriptor: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (M,) similarities, of M vectors to one (P,) descriptor."""
        query, numbers = (torch.from_numpy(each).to(self._vectors.device) for each in (descriptor, places))
        return np.asarray(self._compare(query, numbers).cpu().numpy(), np.float32)


def fits(shape: tuple[int, int], device: torch.device) -> bool:
    """Tell whether N descriptors of P dimensions take at most half of what is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * math.prod(shape) <= free / 2
