"""What is searched in half precision finds what FAISS finds; the CPU stands for a GPU."""

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.resident import BLOCK, ResidentMap

CPU = torch.device("cpu")
#: What vectors of some dimensions lose in half precision; the more dimensions, the less.
ROUNDING = 1e-4


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
    index, asked = index_of(unit(random, count, dimension)), unit(random, queries, dimension)
    similarities, places = ResidentMap(index, CPU).search(asked, k)
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


def test_similarities_of_some():
    random = np.random.default_rng(3)
    vectors, asked = unit(random, 100, 32), unit(random, 1, 32)[0]
    resident = ResidentMap(index_of(vectors), CPU)
    for places in ([], [7], [3, 99, 3, 0]):
        found = resident.similarities(asked, np.array(places, np.int64))
        np.testing.assert_allclose(found, vectors[places] @ asked, atol=ROUNDING)


def test_neighbours_that_products_of_half_precision_cannot_tell_apart_are_in_order():
    random = np.random.default_rng(0)
    asked = unit(random, 1, 1024)
    near = asked + 5e-3 * np.arange(1, 11, dtype=np.float32)[:, None] * unit(random, 10, 1024)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    index = index_of(np.concatenate([unit(random, 50, 1024), near]).astype(np.float32))
    halves = torch.from_numpy(near).half() @ torch.from_numpy(asked[0]).half()
    assert len(halves.unique()) < 5
    assert ResidentMap(index, CPU).search(asked, 10)[1].tolist() == [list(range(50, 60))]


def test_more_places_than_are_put_there_at_a_time():
    random = np.random.default_rng(1)
    vectors = unit(random, 2 * BLOCK + 5, 4)
    resident = ResidentMap(index_of(vectors), CPU)
    for place in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 4):
        assert resident.search(vectors[[place]], 1)[1].tolist() == [[place]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    random = np.random.default_rng(2)
    index, asked = index_of(unit(random, 20_000, 256)), unit(random, 50, 256)
    assert (ResidentMap(index, torch.device("cuda")).search(asked, 20)[1] == index.search(asked, 20)[1]).all()
