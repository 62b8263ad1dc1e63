"""Metres and degrees there and back, at the poles and the antimeridian too."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vpr_ros.geodesy import (
    Datum,
    from_ecef,
    heading_to_yaw,
    mean_geodetic,
    to_ecef,
    to_enu,
    to_geodetic,
    wrap,
    yaw_to_heading,
)

few = settings(max_examples=60, deadline=None, derandomize=True)
latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
altitudes = st.floats(-500, 9000)
metres = st.floats(-5000, 5000)
angles = st.floats(-1e3, 1e3)


def turn(first, second, whole=360.0):
    """Return how far two angles are apart, either way round."""
    return abs((first - second + whole / 2) % whole - whole / 2)


@few
@given(latitudes, longitudes, altitudes)
@example(90.0, 0.0, 0.0)
@example(-90.0, 0.0, 0.0)
@example(0.0, 180.0, 0.0)
@example(0.0, -180.0, 0.0)
@example(0.0, 0.0, 0.0)
def test_ecef_there_and_back(latitude, longitude, altitude):
    back = from_ecef(to_ecef(latitude, longitude, altitude))
    assert back[0] == pytest.approx(latitude, abs=1e-9)
    assert turn(back[1], longitude) * math.cos(math.radians(latitude)) < 1e-9
    assert back[2] == pytest.approx(altitude, abs=1e-5)


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (0, 0, (6378137.0, 0, 0)),
        (0, 90, (0, 6378137.0, 0)),
        (0, 180, (-6378137.0, 0, 0)),
        (0, -180, (-6378137.0, 0, 0)),
        (90, 0, (0, 0, 6356752.314245)),
        (-90, 77, (0, 0, -6356752.314245)),
    ],
)
def test_ecef_on_the_axes_of_wgs84(latitude, longitude, expected):
    np.testing.assert_allclose(to_ecef(latitude, longitude), expected, atol=1e-6)


def test_chord_is_a_millimetre_short_at_ten_kilometres():
    # along the equator an arc is exactly a x angle
    ends = to_ecef([0.0, 0.0], [0.0, math.degrees(10_000 / 6378137.0)])
    assert 10_000 - np.linalg.norm(ends[1] - ends[0]) == pytest.approx(0.001, abs=0.0005)


@few
@given(latitudes, longitudes, altitudes, metres, metres, st.floats(-200, 200))
@example(52.0, 180.0, 0.0, 100.0, 100.0, 0.0)
@example(52.0, -180.0, 0.0, -100.0, 100.0, 0.0)
@example(90.0, 0.0, 0.0, 100.0, 100.0, 0.0)
@example(-90.0, 0.0, 0.0, 0.0, 0.0, 0.0)
def test_enu_there_and_back(latitude, longitude, altitude, east, north, up):
    datum = Datum(latitude, longitude, altitude)
    geodetic = to_geodetic([east, north, up], datum)
    assert abs(geodetic[0]) <= 90
    assert abs(geodetic[1]) <= 180
    np.testing.assert_allclose(to_enu(*geodetic, datum), [east, north, up], atol=1e-4)


@few
@given(st.floats(-80, 80), longitudes)
def test_axes_are_east_north_and_up(latitude, longitude):
    datum = Datum(latitude, longitude, 100.0)
    assert to_enu(latitude, longitude, 100.0, datum) == pytest.approx([0, 0, 0], abs=1e-6)
    north = to_enu(latitude + 1e-4, longitude, 100.0, datum)
    east = to_enu(latitude, longitude + 1e-4, 100.0, datum)
    up = to_enu(latitude, longitude, 107.0, datum)
    assert north[1] == pytest.approx(11.1, rel=0.02)
    assert east[0] == pytest.approx(11.13 * math.cos(math.radians(latitude)), rel=0.02)
    np.testing.assert_allclose(up, [0, 0, 7], atol=1e-6)
    np.testing.assert_allclose([north[0], east[1]], 0, atol=1e-3)


def test_metres_across_the_antimeridian():
    datum = Datum(0.0, 179.9999)
    east = to_enu(0.0, -179.9999, 0.0, datum)
    np.testing.assert_allclose(east, [22.26, 0, 0], atol=0.01)
    assert to_geodetic(east, datum)[1] == pytest.approx(-179.9999, abs=1e-9)


def test_over_the_pole():
    there = to_enu(89.9999, 180.0, 0.0, Datum(89.9999, 0.0))
    np.testing.assert_allclose(there, [0, 2 * 11.17, 0], atol=0.01)


def test_unknown_altitude_is_the_datums():
    datum = Datum(52.0, 5.0, 43.0)
    enu = to_enu([52.0, 52.001], [5.0, 5.0], [np.nan, 50.0], datum)
    assert enu.shape == (2, 3)
    np.testing.assert_allclose(enu[0], 0, atol=1e-6)
    assert enu[1, 2] == pytest.approx(7.0, abs=0.01)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_shapes(shape):
    datum = Datum(52.0, 5.0)
    enu = to_enu(np.full(shape, 52.0), np.full(shape, 5.0), np.zeros(shape), datum)
    assert enu.shape == (*shape, 3)
    assert to_geodetic(enu, datum).shape == (*shape, 3)
    assert to_ecef(np.full(shape, 52.0), np.full(shape, 5.0)).shape == (*shape, 3)
    assert from_ecef(to_ecef(np.full(shape, 52.0), np.full(shape, 5.0))).shape == (*shape, 3)


@pytest.mark.parametrize(
    ("heading", "yaw"), [(0, math.pi / 2), (90, 0), (180, -math.pi / 2), (270, -math.pi), (45, math.pi / 4)]
)
def test_cardinal_directions(heading, yaw):
    assert heading_to_yaw(heading) == pytest.approx(yaw)
    assert yaw_to_heading(yaw) == pytest.approx(heading)


@few
@given(angles)
@example(-1e-20)
@example(360.0)
@example(90.0 + 1e-14)
@example(math.nextafter(360.0, 0.0))
def test_heading_to_yaw_and_back(heading):
    yaw = heading_to_yaw(heading)
    assert -math.pi <= yaw < math.pi
    back = yaw_to_heading(yaw)
    assert 0 <= back < 360
    assert turn(back, heading) < 1e-9


@few
@given(angles)
@example(math.pi)
@example(-math.pi)
@example(math.nextafter(-math.pi, -4))
@example(math.nextafter(math.pi, 4))
def test_wrap_stays_in_its_range_and_keeps_the_direction(angle):
    wrapped = float(wrap(angle))
    assert -math.pi <= wrapped < math.pi
    assert turn(wrapped, angle, 2 * math.pi) < 1e-9


@few
@given(
    st.floats(-80, 80),
    longitudes,
    st.lists(st.tuples(st.floats(-25, 25), st.floats(-25, 25), st.floats(-5, 5)), min_size=2, max_size=6),
    st.integers(0, 2**32 - 1),
)
@example(80.0, 180.0, [(-25.0, 25.0, 0.0), (25.0, -25.0, 0.0)], 0)
@example(0.0, -180.0, [(25.0, 0.0, 0.0), (-25.0, 0.0, 0.0)], 0)
def test_mean_of_degrees_is_the_mean_of_metres(latitude, longitude, near, seed):
    datum = Datum(latitude, longitude, 30.0)
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(len(near)), size=3)
    mean = mean_geodetic(shares, *to_geodetic(near, datum).T)
    assert (np.abs(mean[:, 1]) <= 180).all()
    np.testing.assert_allclose(to_enu(*mean.T, datum), shares @ np.array(near), atol=1e-3)


def test_unknown_stays_unknown():
    assert np.isnan(heading_to_yaw(np.nan))
    assert np.isnan(yaw_to_heading([0.0, np.nan])).tolist() == [False, True]
