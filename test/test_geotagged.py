"""The table of geotagged images: its checks, its row numbers, its neighbours."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from vpr_ros.geotagged import (
    COLUMNS,
    GeotaggedImages,
    Undecoded,
    ground_distance,
    join,
    make_rows,
    only_session,
    within_radius,
)

few = settings(max_examples=40, deadline=None, derandomize=True)


def table(count, first=0, sessions=("a",)):
    """Return a table whose image number n is one pixel of value n."""
    numbers = np.arange(first, first + count)
    rows = make_rows(
        "here",
        image=[f"{number}.png" for number in numbers],
        latitude=numbers * 0.001,
        longitude=np.zeros(count),
        session=[sessions[number % len(sessions)] for number in numbers],
    )
    return GeotaggedImages(rows, lambda row: np.full((1, 1, 3), int(numbers[row]), np.uint8))


def numbers_of(images):
    """Return what the rows and the pixels say, which must be the same."""
    named = [int(name.removesuffix(".png")) for name in images.rows["image"]]
    assert [int(images.read(row)[0, 0, 0]) for row in range(len(images))] == named
    return named


# --- rows -------------------------------------------------------------------------------------------------


def test_columns_not_given_are_unknown():
    rows = make_rows("here", latitude=[1.0, 2.0], longitude=[3.0, 4.0])
    assert rows.dtype.names == tuple(COLUMNS)
    assert np.isnan(rows["altitude"]).all()
    assert np.isnan(rows["heading"]).all()
    assert rows["stamp"].tolist() == [0, 0]
    assert rows["image"].tolist() == rows["session"].tolist() == ["", ""]


def test_values_are_kept_as_they_are():
    stamp = 1_700_000_000_123_456_789  # no float64 holds it
    name = "ein-langer-Name/" * 20 + "ö.jpg"
    rows = make_rows(
        "here",
        image=["x", name],
        latitude=[-90, 90],
        longitude=[180, -180],
        stamp=[stamp, -1],
        altitude=[-430, 9],
    )
    assert rows["image"].tolist() == ["x", name]
    assert rows["stamp"].tolist() == [stamp, -1]
    assert rows["latitude"].tolist() == [-90, 90]
    assert rows["longitude"].tolist() == [180, -180]
    assert rows["altitude"].tolist() == [-430, 9]


def test_no_rows():
    rows = make_rows("here", latitude=[], longitude=[], image=[])
    assert len(rows) == 0
    assert rows.dtype.names == tuple(COLUMNS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latitude", 91.0),
        ("latitude", -90.001),
        ("latitude", math.nan),
        ("latitude", math.inf),
        ("longitude", 180.5),
        ("longitude", -181.0),
        ("longitude", math.nan),
        ("altitude", 2e5),
        ("altitude", -math.inf),
        ("heading", 361.0),
        ("heading", -400.0),
        ("heading", math.inf),
    ],
)
def test_a_value_out_of_range_names_file_row_and_value(name, value):
    columns = {"latitude": [1.0] * 3, "longitude": [2.0] * 3, name: [3.0, value, 4.0]}
    with input_error("drive.csv", name, f"{value:g}", "row 1", "expected"):
        make_rows("drive.csv", **columns)
    with input_error("drive.csv", name, "second.png"):
        make_rows("drive.csv", image=["first.png", "second.png", "third.png"], **columns)


@few
@given(st.floats(-360, 360))
@example(-1e-20)
@example(360.0)
@example(-360.0)
def test_headings_lie_between_0_and_360(heading):
    rows = make_rows("here", latitude=[0], longitude=[0], heading=[heading])
    found = float(rows["heading"][0])
    assert 0 <= found < 360
    assert abs((found - heading + 180) % 360 - 180) < 1e-9


# --- tables -----------------------------------------------------------------------------------------------


@few
@given(st.data())
def test_select_and_join_keep_pixels_with_their_rows(data):
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    starts = np.cumsum([0, *sizes])
    joined = join([table(size, first) for size, first in zip(sizes, starts)])
    expected = list(range(sum(sizes)))
    assert numbers_of(joined) == expected
    for _ in range(2):  # a selection of a selection
        if data.draw(st.booleans()):
            mask = data.draw(st.lists(st.booleans(), min_size=len(joined), max_size=len(joined)))
            joined = joined.select(np.array(mask, bool))
            expected = [number for number, kept in zip(expected, mask, strict=True) if kept]
        elif expected:
            chosen = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1))
            joined = joined.select(chosen)
            expected = [expected[row] for row in chosen]
        assert numbers_of(joined) == expected


def test_join_keeps_the_longest_names():
    short, long = table(1), table(1, first=145)
    assert numbers_of(join([short, long])) == [0, 145]
    assert join([short, long]).rows["image"].tolist() == ["0.png", "145.png"]


def test_joined_tables_with_an_empty_one_between():
    assert numbers_of(join([table(0), table(2), table(0), table(0), table(1, 2), table(0)])) == [0, 1, 2]


def test_images_as_they_were_stored_keep_with_their_rows():
    pixels, files = table(3), table(2, first=3)
    files = GeotaggedImages(
        files.rows, files.read, lambda row: Undecoded(lambda: files.read(row), bytes([3 + row]))
    )
    joined = join([pixels, files]).select([4, 0, 3])
    found = [joined.undecoded(row) for row in range(3)]
    assert [each.data for each in found] == [b"\x04", None, b"\x03"]
    assert [int(each.rgb()[0, 0, 0]) for each in found] == [4, 0, 3]


def test_only_session_takes_its_rows():
    assert numbers_of(only_session(table(6, sessions=("a", "b")), "b")) == [1, 3, 5]


def test_only_session_names_the_sessions_there_are():
    with input_error("'night'", "dawn, noon"):
        only_session(table(4, sessions=("noon", "dawn")), "night")


# --- neighbours -------------------------------------------------------------------------------------------


def haversine(first, second):
    """Return metres on a sphere: within 0.6 % of those on the ellipsoid."""
    lat1, lat2 = np.radians(first["latitude"])[:, None], np.radians(second["latitude"])
    lon1, lon2 = np.radians(first["longitude"])[:, None], np.radians(second["longitude"])
    root = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6_371_000 * np.arcsin(np.sqrt(root))


def around(latitude, longitude, count, seed, spread=60.0):
    """Return rows within some metres of a point, over the antimeridian where it is near."""
    random = np.random.default_rng(seed)
    north, east = random.uniform(-spread, spread, (2, count)) / 111_195
    east = east / math.cos(math.radians(latitude))
    rows = make_rows(
        "here",
        latitude=latitude + north,
        longitude=(longitude + east + 180) % 360 - 180,
        altitude=random.uniform(-100, 100, count),  # on the ground: heights do not count
    )
    assert len(rows) == count
    return rows


@few
@given(st.floats(-85, 85), st.floats(-180, 180), st.integers(0, 99), st.sampled_from([1.0, 10.0, 25.0]))
@example(0.0, 180.0, 0, 25.0)
@example(52.0, -180.0, 1, 25.0)
def test_within_radius_is_what_the_haversine_says(latitude, longitude, seed, radius):
    queries = around(latitude, longitude, 8, seed)
    database = around(latitude, longitude, 40, seed + 1000)
    distances = haversine(queries, database)
    found = within_radius(queries, database, radius)
    assert len(found) == len(queries)
    for rows, distance in zip(found, distances, strict=True):
        assert rows.tolist() == sorted(set(rows.tolist()))
        assert set(np.flatnonzero(distance < 0.99 * radius)) <= set(rows)
        assert set(rows) <= set(np.flatnonzero(distance < 1.01 * radius))


def test_neighbours_across_the_antimeridian_and_the_pole():
    rows = make_rows("here", latitude=[0, 0, 89.9999, 89.9999], longitude=[179.9999, -179.9999, 0, 180])
    found = within_radius(rows, rows, 25.0)
    assert [numbers.tolist() for numbers in found] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert ground_distance(rows[:1], rows[1:2])[0] == pytest.approx(22.26, abs=0.01)
    assert ground_distance(rows[2:3], rows[3:])[0] == pytest.approx(22.34, abs=0.01)


def test_nobody_is_near():
    rows = make_rows("here", latitude=[0, 1], longitude=[0, 0])
    found = within_radius(rows[:1], rows[1:], 25.0)
    assert [numbers.tolist() for numbers in found] == [[]]
    assert rows[found[0]].shape == (0,)  # an index, even when empty


def test_no_queries():
    rows = make_rows("here", latitude=[0, 1], longitude=[0, 0])
    assert within_radius(rows[:0], rows, 25.0) == []


@few
@given(st.floats(-85, 85), st.floats(-180, 180), st.integers(0, 99))
def test_ground_distance_is_the_haversines_and_has_no_height(latitude, longitude, seed):
    first, second = around(latitude, longitude, 5, seed), around(latitude, longitude, 5, seed + 1)
    expected = np.diag(haversine(first, second))
    np.testing.assert_allclose(ground_distance(first, second), expected, rtol=0.01, atol=1e-6)
    np.testing.assert_allclose(
        ground_distance(first[:1], second), haversine(first[:1], second)[0], rtol=0.01, atol=1e-6
    )
