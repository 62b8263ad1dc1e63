"""Places that add nothing: the same as comparing each with each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.small_maps import in_a_row, rows_at
from vpr_ros.geotagged import ground_distance, make_rows
from vpr_ros.maps.redundant import repeated, spaced, superseded

HEADINGS = st.sampled_from([0.0, 30.0, 44.0, 90.0, 180.0, 350.0, np.nan])
PLACE = st.tuples(st.floats(0, 100), st.floats(0, 100), HEADINGS)


def rows_of(places):
    east, north, heading = np.array(places, np.float64).reshape(-1, 3).T
    return rows_at(np.column_stack([east, north, 0 * east]), heading=heading)


def alike(first, second):
    """Tell of (N,) and (M,) rows which look the same way, one pair after the other."""
    turned = np.abs((first["heading"][:, None] - second["heading"] + 180) % 360 - 180)
    return np.isnan(turned) | (turned <= 45)


def apart(first, second):
    return ground_distance(first[:, None], second[None])


@given(st.lists(PLACE, max_size=20), st.lists(PLACE, max_size=20), st.floats(1, 50))
@settings(max_examples=100, deadline=None)
def test_superseded_is_what_a_later_one_has_nearby_that_looks_the_same_way(earlier, later, metres):
    earlier, later = rows_of(earlier), rows_of(later)
    near = apart(earlier, later) <= metres
    assert superseded(earlier, later, metres).tolist() == (near & alike(earlier, later)).any(axis=1).tolist()


def test_superseded_of_more_than_one_block(monkeypatch):
    monkeypatch.setattr("vpr_ros.maps.redundant.BLOCK", 7)
    earlier, later = rows_at(in_a_row(50)), rows_at(in_a_row(20, east=205.0))
    assert np.flatnonzero(superseded(earlier, later, 6.0)).tolist() == list(range(20, 41))


@given(st.lists(PLACE, max_size=30), st.floats(1, 50))
@settings(max_examples=100, deadline=None)
def test_spaced_keeps_none_too_close_and_drops_none_without_need(places, metres):
    rows = rows_of(places)
    keep = spaced(rows, metres)
    close = (apart(rows, rows) < metres * 0.999) & alike(rows, rows)
    np.fill_diagonal(close, False)
    assert not close[np.ix_(keep, keep)].any()
    for row in np.flatnonzero(~keep):
        assert close[row, :row][keep[:row]].any(), "an earlier one that is kept stands for it"


@pytest.mark.parametrize(("metres", "kept"), [(10, 12), (10.1, 6), (20, 6), (25, 4), (1000, 1)])
def test_spaced_in_a_row_10_m_apart(metres, kept):
    """What is exactly so far apart is far enough, whatever rounding says."""
    assert spaced(rows_at(in_a_row(12)), metres).sum() == kept


def test_both_directions_of_a_street_stay():
    enu = np.concatenate([in_a_row(10, 1.0), in_a_row(10, 1.0)[::-1]])
    rows = rows_at(enu, heading=np.repeat([90.0, 270.0], 10))
    assert np.flatnonzero(spaced(rows, 100.0)).tolist() == [0, 10]


def test_repeated_are_the_same_images():
    rows = rows_at(in_a_row(6))
    assert repeated(rows[:4], rows[2:]).tolist() == [True, True, False, False]
    assert repeated(rows, rows_at(in_a_row(6), start=100)).tolist() == [False] * 6  # another time
    assert repeated(rows, rows_at(in_a_row(6), "b")).tolist() == [False] * 6  # another image
    assert repeated(rows, rows_at(in_a_row(6, north=1.0))).tolist() == [False] * 6  # elsewhere


def test_repeated_without_stamps():
    first = make_rows("test", image=["a", "b"], latitude=[1, 1], longitude=[2, 2])
    second = make_rows("test", image=["b", "c"], latitude=[1, 1], longitude=[2, 2])
    assert repeated(first, second).tolist() == [True, False]
