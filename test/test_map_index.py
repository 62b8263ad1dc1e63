"""Which index a map gets, what it is trained to, and that it says what it holds."""

import re

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.small_maps import unit
from vpr_ros.errors import InputError
from vpr_ros.maps import index as map_index
from vpr_ros.maps.index import (
    are_whitened,
    bytes_a_place,
    choose,
    default_effort,
    factory,
    inner,
    is_flat,
    keeps_descriptors,
    reconstructed,
    rotated,
    set_effort,
    train,
    training_size,
    transforms,
    untrained,
)

DIMENSION = 32
#: Of each kind, small.
KINDS = [
    *("Flat", "SQ8", "PQ8", "HNSW8", "HNSW8,SQ8", "IVF8,Flat", "IVF8,SQ8", "IVF8,PQ8", "IVF8_HNSW8,Flat"),
    *("First16,Flat", "First16,IVF8,PQ8", "PCA16,Flat", "PCAR16,L2norm,IVF8,PQ8", "OPQ8,IVF8,PQ8"),
    *("First16,OPQ8,PQ8", "First16,HNSW8"),
]


def filled(string, vectors):
    index = untrained(string, vectors.shape[1])
    train(index, vectors)
    index.add(vectors)
    return index


@pytest.fixture(scope="module")
def vectors():
    return unit(np.random.default_rng(0), 600, DIMENSION)


# --- which


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 10**7),
    dimension=st.integers(1, 40_000),
    name=st.sampled_from(["auto", "flat", "ivf", "ivfpq", "hnsw"]),
    whitened=st.booleans(),
)
def test_every_map_has_an_index(count, dimension, name, whitened):
    index = untrained(factory(name, count, dimension, whitened), dimension)
    assert index.d == dimension
    if name == "ivfpq":
        assert bytes_a_place(index) <= map_index.CODE + 8
        assert inner(index).d <= map_index.REDUCED
        assert inner(index).nlist <= max(1, count // 39)


def test_small_maps_are_exact_and_large_ones_small():
    assert choose(262_144, 256) == "Flat"
    assert choose(262_145, 256) == "IVF2048,PQ64"
    assert choose(16_384, 4096) == "Flat"
    assert choose(1_000_000, 4096) == "First512,IVF4000,PQ64"
    assert factory("auto", 1_000_000, 32_768, whitened=False) == "PCAR512,L2norm,IVF4000,PQ64"
    assert factory("IVF7,SQ8", 10, 10) == "IVF7,SQ8"


def test_whitened_descriptors_are_told_from_others():
    """Whitening by PCA leaves the directions first that differ most between images of all kinds."""
    equal = np.random.default_rng(0).normal(size=(500, 4096)).astype(np.float32)
    assert not are_whitened(equal)
    assert are_whitened(equal * np.linspace(1.0, 0.5, 4096))


@pytest.mark.parametrize(
    "string",
    [
        *("", "nonsense", "IVF8", "IVF8,PQ7", "PQ8,Flat", "First0,Flat", "First16", "First16,First8,Flat"),
        *("IDMap,Flat", "LSH", "HNSW8,PQ8", "IVF8,PQ8x4fs", "IVF8,RaBitQ", "IVF8,PQ8,RFlat", "PCAW16,Flat"),
        *("ITQ16,Flat", "Flat,Flat", "IVF8,Flat;rm -rf", "NSG16", "IVF99999999999999999999,Flat"),
    ],
)
def test_a_string_that_makes_no_index_of_ours(string):
    with pytest.raises(InputError) as caught:
        untrained(string, DIMENSION)
    assert str(caught.value).startswith(f"index {string!r}")
    assert "expected Flat, SQ, PQ, HNSW or IVF" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- training


@pytest.mark.parametrize("string", KINDS)
def test_training_needs_no_more_than_it_says(string, vectors):
    index = untrained(string, DIMENSION)
    size = training_size(index)
    assert (size == 0) == index.is_trained
    assert size <= max(map_index.OF_TRANSFORM, 40 * 256)
    train(index, vectors[: max(size, 1)])
    assert training_size(index) == 0


def test_what_a_large_index_is_trained_on_is_bounded():
    assert training_size(untrained("First512,IVF4000,PQ64", 4096)) * 4096 * 4 <= 1 << 30
    assert training_size(untrained("IVF4000,PQ64", 512)) == 160_000


@pytest.mark.parametrize("string", ["IVF8,PQ8", "PQ8", "IVF64,Flat", "OPQ8,PQ8", "PCA16,Flat"])
def test_too_few_places_to_train_on(string):
    with pytest.raises(InputError, match="choose --index flat"):
        train(untrained(string, DIMENSION), unit(np.random.default_rng(0), 5, DIMENSION))


def test_nothing_is_printed(capfd, vectors):
    """FAISS warns of each of its centroids that it has been given few vectors for."""
    filled("OPQ8,IVF64,PQ8", vectors)
    assert capfd.readouterr() == ("", "")


# --- what it holds


@pytest.mark.parametrize("string", KINDS)
def test_similarities_are_those_of_what_it_holds(string, vectors):
    """Queries rotated, and places as the index behind has them, give what a search gives."""
    index = filled(string, vectors)
    set_effort(index, 600)  # all of it
    asked = unit(np.random.default_rng(1), 4, DIMENSION)
    similarities, places = index.search(asked, 10)
    held = reconstructed(inner(index), places.ravel()).reshape(4, 10, -1)
    again = np.einsum("mkp,mp->mk", held, rotated(index, asked))
    np.testing.assert_allclose(again, similarities, atol=1e-5)


@pytest.mark.parametrize("string", KINDS)
def test_descriptors_come_back_nearly(string, vectors):
    index = filled(string, vectors)
    back = reconstructed(index, np.array([5, 0, 599]))
    assert back.shape == (3, DIMENSION)
    cosines = np.einsum("np,np->n", back, vectors[[5, 0, 599]]) / np.linalg.norm(back, axis=1)
    # of random descriptors half of the numbers is about 0.7 of one
    assert (cosines > (0.4 if transforms(index) else 0.75)).all()
    if keeps_descriptors(index):
        assert np.array_equal(back, vectors[[5, 0, 599]])


def test_exact_ones_are_told_from_others(vectors):
    exact = {string for string in KINDS if keeps_descriptors(filled(string, vectors))}
    assert exact == {"Flat", "HNSW8", "IVF8,Flat", "IVF8_HNSW8,Flat"}
    assert {string for string in KINDS if is_flat(filled(string, vectors))} == {"Flat"}


def test_a_reduction_about_the_origin_keeps_products():
    """Descriptors lie about a mean that is far from nothing: about it other products would be kept."""
    generator = np.random.default_rng(0)
    vectors = (
        generator.normal(size=(400, 20)).astype(np.float32) * np.linspace(1, 0, 20, dtype=np.float32) + 1
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = filled("PCA20,Flat", vectors)
    similarities, places = index.search(vectors[:5], 400)
    expected = np.take_along_axis(vectors[:5] @ vectors.T, places, axis=1)
    np.testing.assert_allclose(similarities, expected, atol=1e-5)


def test_the_first_numbers_are_brought_to_unit_length(vectors):
    index = filled("First16,Flat", vectors)
    short = vectors[:, :16] / np.linalg.norm(vectors[:, :16], axis=1, keepdims=True)
    similarities, places = index.search(vectors[:7], 600)
    np.testing.assert_allclose(
        similarities, np.take_along_axis(short[:7] @ short.T, places, axis=1), atol=1e-6
    )
    assert places[:, 0].tolist() == list(range(7))
    assert filled("First99,Flat", vectors).search(vectors[:2], 1)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("string", KINDS)
def test_bytes_a_place_are_those_it_takes(string, vectors):
    few, many = (len(faiss.serialize_index(filled(string, part))) for part in (vectors[:300], vectors))
    assert bytes_a_place(untrained(string, DIMENSION)) == pytest.approx((many - few) / 300, rel=0.15)


# --- effort


@pytest.mark.parametrize(
    ("string", "effort"), [("IVF8,Flat", 8), ("IVF64,PQ8", 32), ("HNSW8", 128), ("Flat", 0)]
)
def test_effort_is_lists_or_candidates(string, effort, vectors):
    index = filled(string, vectors)
    assert default_effort(index) == effort
    set_effort(index, 3)
    found = re.search(r"IVF|HNSW", string)
    if found:
        behind = inner(index)
        assert (behind.nprobe if found[0] == "IVF" else behind.hnsw.efSearch) == 3
    set_effort(index, 0)
    if found:
        assert (behind.nprobe if found[0] == "IVF" else behind.hnsw.efSearch) == 3
