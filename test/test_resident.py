"""What is searched in half precision finds what FAISS finds; the CPU stands for a GPU."""

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.maps.resident import ResidentMap

CPU = torch.device("cpu")
#: What vectors of some dimensions lose in half precision; the more dimensions, the less.
ROUNDING = 1e-4


def resident_of(vectors, device=CPU, block=7):
    """Put vectors there some at a time, as a map yields them."""
    blocks = ((start, vectors[start : start + block]) for start in range(0, len(vectors), block))
    return ResidentMap(blocks, vectors.shape, device)


def index_of(vectors):
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def unit(random, count, dimension):
    vectors = random.normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    count=st.sampled_from([1, 2, 19, 300]),
    dimension=st.sampled_from([64, 256]),
    queries=st.integers(1, 3),
    k=st.sampled_from([1, 5, 20, 400]),
    seed=st.integers(0, 99),
)
def test_it_finds_what_faiss_finds(count, dimension, queries, k, seed):
    random = np.random.default_rng(seed)
    vectors, asked = unit(random, count, dimension), unit(random, queries, dimension)
    index = index_of(vectors)
    similarities, places = resident_of(vectors).search(asked, k)
    expected, found = index.search(asked, min(k, count))
    np.testing.assert_allclose(similarities, expected, atol=ROUNDING)
    assert places.shape == found.shape
    assert (np.diff(similarities, axis=1) <= 0).all()
    # of equal similarities either may come first
    np.testing.assert_allclose(
        np.einsum("mkp,mp->mk", index.reconstruct_batch(places.ravel()).reshape(*places.shape, -1), asked),
        expected,
        atol=ROUNDING,
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    count=st.sampled_from([1, 19, 300]),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    queries=st.integers(1, 3),
    k=st.sampled_from([1, 20, 400]),
    seed=st.integers(0, 99),
)
def test_among_some_it_finds_what_a_map_of_them_alone_has(count, share, queries, k, seed):
    random = np.random.default_rng(seed)
    vectors, asked = unit(random, count, 256), unit(random, queries, 256)
    within = np.flatnonzero(random.random(count) < share)
    similarities, places = resident_of(vectors).search(asked, k, within)
    assert similarities.shape == places.shape == (queries, min(k, len(within)))
    expected, found = index_of(vectors[within]).search(asked, max(1, places.shape[1]))
    expected, found = expected[:, : len(within)], found[:, : len(within)]
    np.testing.assert_allclose(similarities, expected, atol=ROUNDING)
    for query, row, best in zip(asked, places, within[found] if len(within) else found, strict=True):
        assert set(row) <= set(within)
        # of equal similarities either may come first
        np.testing.assert_allclose(vectors[row] @ query, vectors[best] @ query, atol=ROUNDING)


def test_similarities_of_some():
    random = np.random.default_rng(3)
    vectors, asked = unit(random, 100, 32), unit(random, 1, 32)[0]
    resident = resident_of(vectors)
    for places in ([], [7], [3, 99, 3, 0]):
        found = resident.similarities(asked, np.array(places, np.int64))
        np.testing.assert_allclose(found, vectors[places] @ asked, atol=ROUNDING)


def test_neighbours_that_products_of_half_precision_cannot_tell_apart_are_in_order():
    random = np.random.default_rng(0)
    asked = unit(random, 1, 1024)
    near = asked + 5e-3 * np.arange(1, 11, dtype=np.float32)[:, None] * unit(random, 10, 1024)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    vectors = np.concatenate([unit(random, 50, 1024), near]).astype(np.float32)
    halves = torch.from_numpy(near).half() @ torch.from_numpy(asked[0]).half()
    assert len(halves.unique()) < 5
    assert resident_of(vectors).search(asked, 10)[1].tolist() == [list(range(50, 60))]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    random = np.random.default_rng(2)
    vectors, asked = unit(random, 20_000, 256), unit(random, 50, 256)
    resident = resident_of(vectors, torch.device("cuda"), block=8192)

    def check(queries, k):
        """Places may change order only where their similarities are equal but for rounding."""
        similarities, places = resident.search(queries, k)
        expected, _ = index_of(vectors).search(queries, k)
        np.testing.assert_allclose(similarities, expected, atol=ROUNDING)
        for query, row, best in zip(queries, places, expected, strict=True):
            assert len(set(row)) == k
            np.testing.assert_allclose(np.sort(vectors[row] @ query)[::-1], best, atol=ROUNDING)

    check(asked, 20)
    for query, k in zip(asked, (20, 20, 20, 5, 5, 20), strict=False):  # one at a time is a graph
        check(query[None], k)
    for query, count in zip(asked, (0, 100, 1, 1000), strict=False):  # behind another's work
        named = np.arange(50, 50 + count)
        found = resident.ask(torch.from_numpy(query).cuda(), 20, named)()
        similarities, places = resident.search(query[None], 20)
        np.testing.assert_array_equal(found.places, places[0])
        np.testing.assert_array_equal(found.similarities, similarities[0])
        if count < 1000:
            np.testing.assert_allclose(found.look(named), resident.similarities(query, named), atol=1e-6)
    within = np.sort(random.choice(len(vectors), 500, replace=False))
    for queries in (asked, asked[:1]):  # which is of all of them
        similarities, places = resident.search(queries, 20, within)
        expected, _ = index_of(vectors[within]).search(queries, 20)
        assert np.isin(places, within).all()
        np.testing.assert_allclose(similarities, expected, atol=ROUNDING)
