"""Searching the index of a map: among all places or some of them, and what it did not find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.maps.index import inner, is_flat, reconstructed, rotated

Similarities = NDArray[np.float32]
Places = NDArray[np.int64]
#: Places that are compared, at least, of those that a search is among; and those that are at a time.
COMPARED, BLOCK = 20_000, 8192
#: Numbers of an exact index, and threads, from which on one query is worth more than one thread.
MANY, THREADS = 1 << 23, 4


@contextmanager
def alone(queries: int, numbers: int) -> Iterator[None]:
    """Have FAISS search with the calling thread alone where others would cost more than they bring.

    Two threads are slower than one at one query, which FAISS then computes in another way; and FAISS comes
    with an OpenMP of its own, whose threads go on spinning, where PyTorch's are to encode the next image.

    Args:
        queries: that are searched for together.
        numbers: of the index, places times dimensions.
    """
    threads = faiss.omp_get_max_threads()  # of this thread: it is no one else's setting
    if queries != 1 or (numbers >= MANY and threads >= THREADS):
        yield
        return
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def nearest(
    index: faiss.Index, queries: NDArray[np.float32], k: int, within: Places | None = None
) -> tuple[Similarities, Places]:
    """Return the (M, k) similarities, falling, and numbers of what an index finds for (M, P) queries.

    What it does not find, because it lies in lists that were not searched or no edge of a graph leads there,
    is place -1 of similarity -inf. All lists are searched for a query that the usual ones gave too little.

    Args:
        index: of the map.
        queries: unit descriptors.
        k: at most the number of places.
        within: (W,) the only places that count; rising. Neither a graph nor codes without lists know how to
            keep to them: they find nothing.
    """
    behind = inner(index)
    if not isinstance(behind, faiss.IndexIVF):
        if within is None:
            return _found(index, *index.search(queries, k))
        if not is_flat(index):
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorArray(within))
        return _found(index, *index.search(queries, k, params=parameters))
    probes, selector = behind.nprobe, None
    if within is not None:
        probes = max(probes, behind.nlist * COMPARED // len(within))
        selector = _bitmap(within, index.ntotal)
    similarities, places = _search_lists(index, queries, k, min(probes, behind.nlist), selector)
    lacking = places[:, -1] < 0
    if lacking.any() and probes < behind.nlist:
        again = _search_lists(index, queries[lacking], k, behind.nlist, selector)
        similarities[lacking], places[lacking] = again
    return similarities, places


def best(similarities: Similarities, places: Places, k: int) -> tuple[Similarities, Places]:
    """Return the k highest of each row of (M, C) similarities, falling, with their places."""
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarities, order, axis=1), np.take_along_axis(places, order, axis=1)


def compare(
    products: Callable[[Places], Similarities], count: int, places: Places, k: int
) -> tuple[Similarities, Places]:
    """Return the (M, k) highest of the products with W places, falling, and whose they are.

    Args:
        products: from (w,) of the places to (M, w) products, some at a time.
        count: M.
        places: (W,), at least k.
        k: how many.
    """
    similarities: Similarities = np.empty((count, 0), np.float32)
    kept: Places = np.empty((count, 0), np.int64)
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        found = np.concatenate([similarities, products(block)], axis=1)
        numbers = np.concatenate([kept, np.broadcast_to(block, (count, len(block)))], axis=1)
        similarities, kept = best(found, numbers, k)
    return similarities, kept


def inner_products(index: faiss.Index, queries: NDArray[np.float32], places: Places) -> Similarities:
    """Return the (M, W) similarities that an index gives W of its places to (M, P) queries.

    Raises RuntimeError where it is damaged.
    """
    # it is rotated, at most: what is between the rotated is what is between the descriptors
    return np.asarray(rotated(index, queries) @ reconstructed(inner(index), places).T)


def _search_lists(
    index: faiss.Index, queries: NDArray[np.float32], k: int, probes: int, selector: faiss.IDSelector | None
) -> tuple[Similarities, Places]:
    parameters: Any = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    return _found(index, *index.search(queries, k, params=parameters))


def _bitmap(within: Places, count: int) -> faiss.IDSelector:
    chosen = np.zeros(count, bool)
    chosen[within] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def _found(index: faiss.Index, similarities: Similarities, places: Places) -> tuple[Similarities, Places]:
    """Mark what was not found; of a damaged index, what is no place of it too."""
    wrong = (places < 0) | (places >= index.ntotal)
    if wrong.any():
        similarities[wrong], places[wrong] = -np.inf, -1
        similarities, places = best(similarities, places, places.shape[1])
    return similarities, places
