"""Which retrieved places count: the evaluation rules of Tokyo 24/7 and Tokyo Time Machine."""

import numpy as np

from training.measuring.counted import Counted
from vpr_ros.geotagged import make_rows


def places():
    """Four panoramas of three views each, at two times."""
    panorama = np.repeat(np.arange(4), 3)
    return make_rows(
        "test",
        latitude=50 + panorama / 1000,
        longitude=np.full(12, 8.0),
        stamp=np.where(panorama < 2, 2013, 2014),
    )


def test_every_place_counts_where_nothing_is_said():
    counted = Counted(places(), 4)
    assert counted.depth == 4
    assert counted.of(np.array([5, 4, 3, 0, 9]), 2013).tolist() == [5, 4, 3, 0]


def test_one_view_a_panorama():
    counted = Counted(places(), 3, views=3)
    assert counted.depth == 9
    assert counted.of(np.array([5, 4, 3, 0, 9, 1, 11, 8, 7]), 0).tolist() == [5, 0, 9]


def test_places_of_another_time():
    counted = Counted(places(), 3, other_times=True)
    assert counted.depth == 30
    assert counted.of(np.arange(12), 2013).tolist() == [6, 7, 8]
    assert counted.of(np.arange(12), 2014).tolist() == [0, 1, 2]
    assert counted.of(np.arange(12), 0).tolist() == [0, 1, 2]


def test_both():
    counted = Counted(places(), 5, views=3, other_times=True)
    assert counted.of(np.arange(12)[::-1], 2014).tolist() == [5, 2]


def test_as_netvlads_authors_write_it():
    """Against their nnSearchPostprocess: unique(idivide(ids - 1, 12), 'stable'), then the first nTop."""
    random = np.random.default_rng(0)
    rows = make_rows(
        "test", latitude=np.repeat(random.uniform(35, 36, 50), 12), longitude=np.full(600, 139.7)
    )
    counted = Counted(rows, 25, views=12)
    for _ in range(20):
        ids = random.permutation(600)[: counted.depth]
        seen, expected = set(), []
        for place in ids.tolist():
            if place // 12 not in seen:
                seen.add(place // 12)
                expected.append(place)
        assert counted.of(ids, 0).tolist() == expected[:25]
