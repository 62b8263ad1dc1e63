"""A box of latitudes and longitudes: what it holds, also where longitudes begin anew."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from vpr_ros.geotagged import make_rows
from vpr_ros.maps.box import Box, box_around


def rows_of(points):
    latitude, longitude = np.asarray(points, np.float64).T
    return make_rows("test", latitude=latitude, longitude=longitude)


@pytest.mark.parametrize(
    ("box", "points", "held"),
    [
        ((50, 5, 51, 6), [(50, 5), (51, 6), (50.5, 5.5)], True),
        ((50, 5, 51, 6), [(49.999, 5.5), (51.001, 5.5), (50.5, 4.999), (50.5, 6.001), (50.5, -175)], False),
        ((-20, 179, -10, -179), [(-15, 179.5), (-15, -179.5), (-15, 180), (-15, -180), (-10, 179)], True),
        ((-20, 179, -10, -179), [(-15, 178.9), (-15, -178.9), (-15, 0), (-9, 180)], False),
        ((-90, -180, 90, 180), [(90, 0), (-90, 17), (0, 180), (0, -180)], True),
        ((50, 5, 50, 5), [(50, 5)], True),
    ],
)
def test_what_it_holds(box, points, held):
    assert Box(*box).holds(rows_of(points)).tolist() == [held] * len(points)


@pytest.mark.parametrize(
    "box", [(51, 5, 50, 6), (-91, 5, 50, 6), (50, 5, 91, 6), (50, -181, 51, 6), (50, 5, 51, 181)]
)
def test_what_is_none(box):
    with input_error("box", "south west north east"):
        Box(*box)


@pytest.mark.parametrize("edge", range(4))
def test_an_edge_that_is_no_number(edge):
    edges = [50.0, 5.0, 51.0, 6.0]
    edges[edge] = float("nan")
    with input_error("box"):
        Box(*edges)


def test_around_places_on_both_sides_of_the_antimeridian():
    box = box_around(rows_of([(1, 179.5), (2, -179.9), (3, 179.9)]))
    assert (box.south, box.west, box.north, box.east) == (1, 179.5, 3, -179.9)


def test_around_one_place():
    assert box_around(rows_of([(50, 5)])) == Box(50, 5, 50, 5)


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_around_places_it_holds_them_and_is_no_wider_than_needed(points):
    rows = rows_of(points)
    box = box_around(rows)
    assert box.holds(rows).all()
    width = (box.east - box.west) % 360
    for start in rows["longitude"]:  # of any box that begins at one of them
        assert width <= np.max((rows["longitude"] - start) % 360) + 1e-9
