"""FAISS indices over the descriptors of a map: which one, trained on what, holding what.

All compare by inner product. They are of the kinds whose descriptors can be had back, and that stand in one
file: what a search among some places, a merge and the check of a foreign file rest on.

A factory string is FAISS's own. Before it may stand `First256,`: of a descriptor, its first 256 numbers
brought to unit length. Of one that is whitened that is the descriptor of 256 dimensions.
"""

from __future__ import annotations

import logging
import math
import re

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError, first_line

logger = logging.getLogger(__name__)

Vectors = NDArray[np.float32]
#: Bytes of descriptors up to which a map is searched exactly: a core compares 10 to 20 GB of them a second.
EXACT_BYTES = 256 << 20
#: Of a large map: dimensions and bytes of a descriptor in its index, and lists of it that are searched.
REDUCED, CODE, PROBES = 512, 64, 32
#: Candidates that a graph keeps while it is searched.
KEPT = 128
#: Descriptors for each centroid that is trained, of lists and of codes; the bytes that all of them may take.
OF_CENTROID, TRAINING_BYTES = 40, 1 << 30
#: Descriptors that a reduction or a rotation is trained on; rounds of k-means of codes, and of a rotation.
OF_TRANSFORM, ROUNDS = 16_384, 10
#: The first numbers of whitened descriptors are larger than the others, by more than this.
ORDERED = 1.1
_FIRST = re.compile(r"First([1-9]\d{0,4}),(.+)", re.ASCII)
_KINDS = {
    "IndexFlat",
    "IndexFlatIP",
    "IndexScalarQuantizer",
    "IndexPQ",
    "IndexHNSWFlat",
    "IndexHNSWSQ",
    "IndexIVFFlat",
    "IndexIVFScalarQuantizer",
    "IndexIVFPQ",
}
KINDS = "expected Flat, SQ, PQ, HNSW or IVF with one of them, after PCA, OPQ, First or nothing"


def choose(count: int, dimension: int) -> str:
    """Return the factory string of the index for that many places: exact while that is fast enough."""
    return factory("auto", count, dimension)


def factory(name: str, count: int, dimension: int, whitened: bool = True) -> str:
    """Return the factory string that auto, flat, ivf, ivfpq or hnsw stands for; any other is one already.

    Args:
        name: of them.
        count: places.
        dimension: P of their descriptors.
        whitened: whether the first numbers of these tell most.
    """
    if name == "auto":
        name = "flat" if 4 * count * dimension <= EXACT_BYTES else "ivfpq"
    # FAISS wants 39 descriptors to train a list on
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    reduced = min(dimension, REDUCED)
    code = max(size for size in range(1, CODE + 1) if reduced % size == 0)
    first = "" if reduced == dimension else f"First{reduced}," if whitened else f"PCAR{reduced},L2norm,"
    strings = {
        "flat": "Flat",
        "ivf": f"IVF{lists},Flat",
        "ivfpq": f"{first}IVF{lists},PQ{code}",
        "hnsw": "HNSW32",
    }
    return strings.get(name, name)


def are_whitened(sample: Vectors) -> bool:
    """Tell whether (N, P) descriptors are ordered as whitened ones are, their first numbers largest."""
    squares = np.square(sample).mean(axis=0)
    return bool(squares[:REDUCED].mean() > ORDERED * squares.mean())


def untrained(factory: str, dimension: int) -> faiss.Index:
    """Return an empty index; raises InputError where a factory string makes none, or not of our kinds."""
    first = _FIRST.fullmatch(factory)
    kept = min(int(first[1]), dimension) if first else dimension
    try:
        index = faiss.index_factory(kept, first[2] if first else factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = first_line(error).rpartition("Error: ")[2]
        raise InputError(f"index {factory!r} of {dimension} dimensions ({reason}): {KINDS}") from error
    if first:
        index = index if isinstance(index, faiss.IndexPreTransform) else faiss.IndexPreTransform(index)
        for transform in (
            faiss.NormalizationTransform(kept, 2.0),
            faiss.RemapDimensionsTransform(dimension, kept, False),
        ):
            if index.own_fields:  # as of one that the factory made: it frees what Python must not free again
                transform.this.disown()
            index.prepend_transform(transform)
    if problem := problem_with(index):
        raise InputError(f"index {factory!r} ({problem}): {KINDS}")
    return index


def inner(index: faiss.Index) -> faiss.Index:
    """Return the index behind the transformations of another; an index without any itself."""
    index = faiss.downcast_index(index)
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def transforms(index: faiss.Index) -> list[faiss.VectorTransform]:
    """Return the transformations that descriptors go through before they are in an index, in order."""
    index = faiss.downcast_index(index)
    if not isinstance(index, faiss.IndexPreTransform):
        return []
    return [faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(index.chain.size())]


def is_flat(index: faiss.Index) -> bool:
    """Tell whether an index is exact: descriptors as they are, compared one by one."""
    return type(faiss.downcast_index(index)).__name__ in ("IndexFlat", "IndexFlatIP")


def keeps_descriptors(index: faiss.Index) -> bool:
    """Tell whether an index holds descriptors as they are, however it finds them."""
    kinds = ("IndexFlat", "IndexFlatIP", "IndexIVFFlat", "IndexHNSWFlat")
    return not transforms(index) and type(inner(index)).__name__ in kinds


def default_effort(index: faiss.Index) -> int:
    """Return how many lists to search, or candidates a graph keeps; 0 where there is no such choice."""
    behind = inner(index)
    if isinstance(behind, faiss.IndexIVF):
        return min(PROBES, int(behind.nlist))
    return KEPT if isinstance(behind, faiss.IndexHNSW) else 0


def set_effort(index: faiss.Index, effort: int) -> None:
    """Have an index search that many lists, or keep that many candidates; 0 leaves it as it is."""
    behind = inner(index)
    if effort and isinstance(behind, faiss.IndexIVF):
        behind.nprobe = effort
    elif effort and isinstance(behind, faiss.IndexHNSW):
        behind.hnsw.efSearch = effort


def bytes_a_place(index: faiss.Index) -> int:
    """Return the memory that an index takes for each place."""
    behind = inner(index)
    if isinstance(behind, faiss.IndexIVF):
        return int(behind.code_size + 8)
    if isinstance(behind, faiss.IndexHNSW):
        return int(behind.storage.sa_code_size() + 5 * behind.hnsw.nb_neighbors(0))
    return int(behind.sa_code_size())


def training_size(index: faiss.Index) -> int:
    """Return how many descriptors are of use to train an index, at most; 0 where it needs no training."""
    if index.is_trained:
        return 0
    behind = inner(index)
    lists = behind.nlist if isinstance(behind, faiss.IndexIVF) else 0
    of_use = max(OF_CENTROID * max(lists, 256), OF_TRANSFORM if transforms(index) else 0)
    return int(min(of_use, max(TRAINING_BYTES // (4 * index.d), OF_TRANSFORM)))


def train(index: faiss.Index, sample: Vectors) -> None:
    """Train an index on (N, P) descriptors; raises InputError where they are too few."""
    if index.is_trained:
        return
    logger.info("training the index on %d descriptors", len(sample))
    sample = np.ascontiguousarray(sample, np.float32)
    try:
        for transform in transforms(index):
            _train_transform(transform, sample)
            sample = transform.apply(sample)
        behind = inner(index)
        if isinstance(behind, faiss.IndexIVF):
            behind.cp.min_points_per_centroid = 1  # FAISS would print what training_size has weighed
        if isinstance(behind, (faiss.IndexIVFPQ, faiss.IndexPQ)):
            _bound(behind.pq)
            behind.do_polysemous_training = False  # minutes, for a search by bits that is not ours
        behind.train(sample)
    except RuntimeError as error:
        reason = first_line(error).rpartition("Error: ")[2]
        raise InputError(
            f"{len(sample)} places do not train this index ({reason}): choose --index flat"
        ) from error
    index.is_trained = True


def _train_transform(transform: faiss.VectorTransform, sample: Vectors) -> None:
    sample = sample[:: max(1, len(sample) // OF_TRANSFORM)]
    if isinstance(transform, faiss.PCAMatrix):
        # about the origin, not about the mean: products with what is shifted are other products
        transform.train(np.concatenate([sample, -sample]))
        transform.have_bias = False
        # a square matrix that nothing reads any more, 64 MB of 4096 dimensions
        for unused in (transform.PCAMat, transform.mean, transform.eigenvalues):
            unused.resize(0)
        return
    if isinstance(transform, faiss.OPQMatrix):
        quantiser = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
        _bound(quantiser)
        transform.niter, transform.pq = ROUNDS, quantiser
        transform.train(sample)
        transform.pq = None
        return
    transform.train(sample)


def _bound(quantiser: faiss.ProductQuantizer) -> None:
    quantiser.cp.min_points_per_centroid, quantiser.cp.max_points_per_centroid = 1, OF_CENTROID
    quantiser.cp.niter = ROUNDS


def rotated(index: faiss.Index, queries: Vectors) -> Vectors:
    """Return (M, P) queries as the index behind the transformations is asked."""
    for transform in transforms(index):
        queries = transform.apply(queries)
    return queries


def reconstructed(index: faiss.Index, places: NDArray[np.int64]) -> Vectors:
    """Return the (M, P) descriptors of M places as an index has them; RuntimeError where it is damaged."""
    behind = inner(index)
    if isinstance(behind, faiss.IndexIVF) and behind.direct_map.no():
        behind.set_direct_map_type(faiss.DirectMap.Array)  # where each place lies in the lists
    vectors = np.asarray(behind.reconstruct_batch(np.ascontiguousarray(places, np.int64)), np.float32)
    for transform in reversed(transforms(index)):
        if not isinstance(transform, faiss.NormalizationTransform):  # lengths are lost
            vectors = transform.reverse_transform(vectors)
    return vectors


def forget_rows(index: faiss.Index) -> None:
    """Drop what inverted lists remember of where each place lies in them; `reconstructed` finds out again."""
    if isinstance(behind := inner(index), faiss.IndexIVF):
        behind.set_direct_map_type(faiss.DirectMap.NoMap)


def problem_with(index: faiss.Index) -> str:
    """Say why an index is none of our kinds, or nothing."""
    behind = inner(index)
    if type(behind).__name__ not in _KINDS:
        return type(behind).__name__
    if {index.metric_type, behind.metric_type} != {faiss.METRIC_INNER_PRODUCT}:
        return "it compares by distance"
    dimension = index.d
    for transform in transforms(index):
        if reason := _problem_of(transform, dimension):
            return f"{type(transform).__name__} {reason}"
        dimension = transform.d_out
    if (behind.d, behind.ntotal) != (dimension, index.ntotal):
        return f"{behind.ntotal} of {behind.d} dimensions behind {index.ntotal} of {dimension}"
    parts = (*transforms(index), behind)
    return "it is not trained" if index.is_trained and not all(each.is_trained for each in parts) else ""


def _problem_of(transform: faiss.VectorTransform, dimension: int) -> str:
    """Say why a transformation is none of ours; FAISS believes its file in what is checked here."""
    if transform.d_in != dimension:
        return f"takes {transform.d_in} dimensions of {dimension}"
    kept = transform.d_out
    if isinstance(transform, faiss.LinearTransform):
        biased = transform.is_trained and transform.have_bias
        fits = not transform.is_trained or transform.A.size() == dimension * kept
        if biased or getattr(transform, "eigen_power", 0.0):
            return "changes similarities"
    elif isinstance(transform, faiss.RemapDimensionsTransform):
        chosen = faiss.vector_to_array(transform.map)
        fits = len(chosen) == kept and bool(((chosen >= 0) & (chosen < dimension)).all())
    else:
        fits = isinstance(transform, faiss.NormalizationTransform) and transform.norm == 2
        fits = fits and kept == dimension
    return "" if fits else "is none of ours"
