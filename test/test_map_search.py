"""A search finds what comparing with every place finds, or says what it did not; among some places too."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.small_maps import in_a_row, rows_at, some_map, unit
from test.test_map_index import KINDS, filled
from vpr_ros import place_map as place_map_module
from vpr_ros.errors import InputError
from vpr_ros.maps import search as map_search
from vpr_ros.maps.index import inner, set_effort
from vpr_ros.maps.index_file import write_index
from vpr_ros.maps.search import MANY, alone, best, inner_products, nearest
from vpr_ros.place_map import open_map

DIMENSION, COUNT = 32, 600


@pytest.fixture(scope="module")
def vectors():
    return unit(np.random.default_rng(0), COUNT, DIMENSION)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Return the map of an index over the same places, with stored descriptors where asked; and these."""
    made = {}

    def one(index, stored="none", rerank=None):
        key = (index, stored, rerank)
        if key not in made:
            folder = tmp_path_factory.mktemp("maps") / "map"
            rows = rows_at(in_a_row(COUNT))
            some_map(folder, rows, dimension=DIMENSION, index=index, stored=stored, rerank=rerank)
            made[key] = open_map(folder)
        return made[key]

    return one


def ranking(vectors, asked, within):
    """Return the places in the order of their cosines, and these."""
    cosines = asked @ vectors[within].T
    order = np.argsort(-cosines, axis=1, kind="stable")
    return np.take_along_axis(cosines, order, axis=1), within[order]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60),
    dimension=st.integers(2, 20),
    queries=st.integers(1, 3),
    k=st.integers(1, 70),
    chosen=st.lists(st.integers(0, 59), min_size=1),
    seed=st.integers(0, 999),
)
def test_among_some_places_as_the_whole_ranking_without_the_others(
    tmp_path_factory, count, dimension, queries, k, chosen, seed
):
    folder = tmp_path_factory.mktemp("map") / "map"
    vectors = some_map(folder, rows_at(in_a_row(count)), seed=seed, dimension=dimension)
    asked = unit(np.random.default_rng(seed + 1), queries, dimension)
    place_map, within = open_map(folder), np.array(chosen) % count  # in any order, and repeated
    similarities, places = place_map.search(asked, k, within)
    _, whole = place_map.search(asked, count)
    kept = np.array([[place for place in row if place in within] for row in whole])[:, :k]
    assert similarities.shape == places.shape == kept.shape
    np.testing.assert_allclose(similarities, np.einsum("mkp,mp->mk", vectors[kept], asked), atol=1e-5)
    np.testing.assert_allclose(similarities, np.einsum("mkp,mp->mk", vectors[places], asked), atol=1e-5)
    assert all(len(set(row)) == len(row) for row in places.tolist())
    assert np.isin(places, within).all()


@pytest.mark.parametrize("within", [None, 1, 5, 80, 500, COUNT])
@pytest.mark.parametrize("k", [1, 20, 300, 1000])
@pytest.mark.parametrize("index", KINDS)
def test_no_place_is_none_and_none_comes_twice(maps, monkeypatch, index, k, within):
    """Though inverted lists hold few places each, and a graph does not lead everywhere."""
    monkeypatch.setattr(place_map_module, "FEW", 50)
    monkeypatch.setattr(map_search, "COMPARED", 100)
    place_map = maps(index)
    set_effort(place_map.index, 1)
    chosen = None if within is None else np.random.default_rng(3).choice(COUNT, within, replace=False)
    asked = unit(np.random.default_rng(1), 6, DIMENSION)
    similarities, places = place_map.search(asked, k, chosen)
    assert places.shape == similarities.shape == (6, min(k, within or COUNT))
    assert ((places >= 0) & (places < COUNT)).all()
    assert all(len(set(row)) == len(row) for row in places.tolist())
    assert within is None or np.isin(places, chosen).all()
    assert (np.diff(similarities, axis=1) <= 0).all()
    for query, row, found in zip(asked, similarities, places, strict=True):  # what the filter asks for agrees
        np.testing.assert_allclose(place_map.similarities(query, found), row, atol=1e-5)


@pytest.mark.parametrize("within", [None, 5, 80])
@pytest.mark.parametrize("index", ["Flat", "HNSW8", "IVF8,Flat", "First32,IVF8,Flat"])
def test_all_exact_ways_agree(maps, vectors, index, within):
    place_map = maps(index)
    set_effort(place_map.index, COUNT)
    chosen = np.arange(COUNT) if within is None else np.arange(100, 100 + within)
    asked = unit(np.random.default_rng(1), 6, DIMENSION)
    similarities, places = place_map.search(asked, 5, None if within is None else chosen)
    expected, order = ranking(vectors, asked, chosen)
    np.testing.assert_allclose(similarities, expected[:, :5], atol=1e-5)
    assert np.array_equal(places, order[:, :5])


def test_nothing_is_asked_of_nowhere(maps):
    asked = unit(np.random.default_rng(0), 3, DIMENSION)
    similarities, places = maps("IVF8,Flat").search(asked, 5, np.array([], int))
    assert similarities.shape == places.shape == (3, 0)


@pytest.mark.parametrize("index", ["Flat", "IVF8,Flat"])
def test_a_descriptor_that_is_no_number_finds_places_all_the_same(maps, index):
    asked = np.full((2, DIMENSION), np.nan, np.float32)
    _, places = maps(index).search(asked, 7)
    assert places.shape == (2, 7)
    assert ((places >= 0) & (places < COUNT)).all()


# --- ranked again


@pytest.mark.parametrize("stored", ["float16", "int8"])
@pytest.mark.parametrize("index", ["First16,IVF8,PQ8", "SQ8", "HNSW8,SQ8"])
def test_the_best_of_the_candidates_are_ranked_by_stored_descriptors(maps, vectors, index, stored):
    place_map = maps(index, stored, COUNT)  # all are candidates: then it is exact, but for rounding
    asked = unit(np.random.default_rng(1), 20, DIMENSION)
    similarities, places = place_map.search(asked, 10)
    expected, order = ranking(vectors, asked, np.arange(COUNT))
    np.testing.assert_allclose(similarities, expected[:, :10], atol=5e-3)
    assert (places[:, 0] == order[:, 0]).mean() > 0.9
    np.testing.assert_allclose(place_map.similarities(asked[0], places[0]), similarities[0], atol=1e-6)
    found, within = place_map.search(asked, 10, np.arange(40, 300))
    np.testing.assert_allclose(found, ranking(vectors, asked, np.arange(40, 300))[0][:, :10], atol=5e-3)
    assert ((within >= 40) & (within < 300)).all()


def test_more_candidates_find_more(maps, vectors):
    asked = unit(np.random.default_rng(1), 200, DIMENSION) + 1.2 * vectors[:200]
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    right = ranking(vectors, asked, np.arange(COUNT))[1][:, 0]
    recalls = []
    for rerank in (0, 2, 20, COUNT):
        place_map = maps("First16,PQ8", "float16", rerank)
        _, places = place_map.search(asked, 1)
        recalls.append((places[:, 0] == right).mean())
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.9
    assert recalls[-1] == pytest.approx(1, abs=0.01)


# --- scores


@pytest.mark.parametrize(
    ("index", "stored"), [("Flat", "none"), ("First16,IVF8,PQ8", "none"), ("PQ8", "int8")]
)
def test_places_by_chance_score_nothing_on_any_index(maps, index, stored):
    """The mean and the spread of what is unrelated are those of the similarities that are searched by."""
    place_map, asked = maps(index, stored), unit(np.random.default_rng(1), 50, DIMENSION)
    scores = np.array([place_map.scores(query, np.arange(COUNT)) for query in asked])
    assert abs(scores.mean()) < 0.05
    assert scores.std() == pytest.approx(1, abs=0.12)


# --- the index alone


def test_what_is_not_found_is_told(vectors):
    index = filled("IVF8,Flat", vectors)
    inner(index).nprobe = 1
    similarities, places = nearest(index, vectors[:3], COUNT)
    assert (places >= 0).all()  # all lists are searched where one is not enough
    similarities, places = nearest(filled("HNSW8", vectors), vectors[:3], 5, np.arange(9))
    assert (places == -1).all()
    assert np.isneginf(similarities).all()


def test_a_search_among_some_leaves_the_effort_as_it_was(vectors):
    index = filled("First16,IVF8,PQ8", vectors)
    set_effort(index, 3)
    nearest(index, vectors[:3], 5, np.arange(9))
    assert inner(index).nprobe == 3


def test_best_are_the_highest():
    similarities = np.array([[0.1, 0.9, -np.inf, 0.5]], np.float32)
    assert best(similarities, np.array([[4, 3, -1, 7]]), 3)[1].tolist() == [[3, 7, 4]]
    assert best(similarities, np.array([[4, 3, -1, 7]]), 9)[1].tolist() == [[3, 7, 4, -1]]


def test_products_are_those_of_descriptors(vectors):
    index = filled("IVF8,Flat", vectors)
    places = np.array([9, 0, 9, 599])
    np.testing.assert_allclose(
        inner_products(index, vectors[:2], places), vectors[:2] @ vectors[places].T, atol=1e-6
    )


def test_an_index_that_does_not_hold_its_places_is_named(tmp_path, monkeypatch):
    """Its file is too large to be summed when it is opened."""
    rows = rows_at(in_a_row(COUNT))
    some_map(tmp_path / "map", rows, dimension=DIMENSION, index="IVF8,Flat")
    file = tmp_path / "map" / "index.faiss"
    index = faiss.read_index(str(file))
    faiss.rev_swig_ptr(index.invlists.get_ids(0), 1)[0] = COUNT + 7
    write_index(index, file)
    monkeypatch.setattr("vpr_ros.maps.manifest.SUMMED_AT_OPEN", 1000)
    monkeypatch.setattr(map_search, "BLOCK", 100)
    place_map = open_map(tmp_path / "map")
    with pytest.raises(InputError, match=r"index\.faiss: damaged .*copy the map again") as caught:
        place_map.search(unit(np.random.default_rng(0), 1, DIMENSION), COUNT)
    assert "\n" not in str(caught.value)


@pytest.fixture
def set_threads():
    """Set how many threads FAISS has here, for the test alone."""
    before = faiss.omp_get_max_threads()
    yield faiss.omp_set_num_threads
    faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "queries", "numbers", "used"),
    [
        (2, 1, 10_000 * 256, 1),
        (2, 1, MANY, 1),
        (8, 1, MANY - 1, 1),
        (8, 1, MANY, 8),
        (2, 2, 10_000 * 256, 2),
    ],
)
def test_one_query_is_searched_for_by_one_thread_where_more_bring_nothing(
    set_threads, threads, queries, numbers, used
):
    set_threads(threads)
    with alone(queries, numbers):
        assert faiss.omp_get_max_threads() == used
    with pytest.raises(ZeroDivisionError), alone(queries, numbers):
        _ = 1 / 0
    assert faiss.omp_get_max_threads() == threads


def test_a_map_searches_for_one_query_alone_and_for_several_together(maps, vectors, monkeypatch, set_threads):
    place_map, seen = maps("flat"), []
    search = place_map.index.search

    def watched(*arguments):
        seen.append(faiss.omp_get_max_threads())
        return search(*arguments)

    monkeypatch.setattr(place_map.index, "search", watched)
    set_threads(2)
    place_map.search(vectors[:1], 3)
    place_map.search(vectors[:2], 3)
    assert seen == [1, 2]
