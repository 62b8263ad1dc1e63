"""A csv file that says where a drive went: whatever is in it, a track or one line about it."""

import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test.error_lines import check_line, input_error
from vpr_ros.drives.truth import read_truth
from vpr_ros.errors import InputError

T0 = 1_750_000_000_123_456_789
HEAD = "stamp,latitude,longitude,altitude,heading"


@pytest.fixture
def table(tmp_path):
    def write(*lines, encoding="utf-8"):
        (tmp_path / "truth.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        return tmp_path / "truth.csv"

    return write


def test_what_is_written_is_read_to_the_nanosecond(table):
    track = read_truth(table(HEAD, f"{T0},52.5,5.25,30.5,359.5", f"{T0 + 1},-52.5,-5.25,,"))
    assert track.stamps.tolist() == [T0, T0 + 1]
    np.testing.assert_array_equal(track.positions, [[52.5, 5.25, 30.5], [-52.5, -5.25, np.nan]])
    np.testing.assert_array_equal(track.headings, [359.5, np.nan])


def test_lines_in_any_order_columns_too_and_others_beside_them(table):
    track = read_truth(
        table("note, longitude ,stamp,latitude", "b,6,20,2", "a,5,10,1", "c,7,30,3", encoding="utf-8-sig")
    )
    assert track.stamps.tolist() == [10, 20, 30]
    assert track.positions[:, :2].tolist() == [[1, 5], [2, 6], [3, 7]]
    assert np.isnan(track.positions[:, 2]).all()
    assert track.headings is None  # the direction of travel will do


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["latitude,longitude", "1,2"], ["no column 'stamp'", "latitude, longitude", "altitude, heading"]),
        (["stamp,lat,lon", "1,2,3"], ["no column 'latitude'"]),
        ([""], ["no column 'stamp'"]),
        ([HEAD], ["no line"]),
        ([HEAD, "1,2,3,,", "1.5,2,3,,"], [":3: stamp is '1.5'", "expected nanoseconds"]),
        ([HEAD, "1750000000.5,2,3,,"], [":2: stamp is"]),
        ([HEAD, f"{2**63},2,3,,"], [":2: stamp is"]),
        ([HEAD, ",2,3,,"], ["stamp is ''"]),
        ([HEAD, "1,north,3,,"], [":2: latitude is 'north'"]),
        ([HEAD, "1,2"], [":2: longitude is ''"]),
        ([HEAD, "1,91,3,,"], ["latitude 91", "line 2"]),
        ([HEAD, "1,2,3,,", "2,nan,3,,"], ["latitude nan", "line 3"]),
        ([HEAD, "1,2,3,,inf"], ["heading inf"]),
        ([HEAD, "7,2,3,,", "1,2,3,,", "7,2,4,,"], ["stamp 7 is there twice"]),
    ],
)
def test_one_line_about_a_file_that_will_not_do(table, lines, parts):
    file = table(*lines)
    with input_error(file, *parts):
        read_truth(file)


def test_no_file_a_folder_and_no_text(tmp_path):
    with input_error(tmp_path / "gone.csv", "no such file", "stamp, latitude, longitude"):
        read_truth(tmp_path / "gone.csv")
    with input_error(tmp_path):
        read_truth(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff" * 20)
    with input_error(tmp_path / "picture.png"):
        read_truth(tmp_path / "picture.png")


@given(
    content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: (HEAD + "\n" + text).encode())
)
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_bytes_are_a_track_or_refused_in_one_line(tmp_path, content):
    file = tmp_path / "truth.csv"
    file.write_bytes(content)
    try:
        track = read_truth(file)
    except InputError as error:
        check_line(error, file)
    else:
        assert (np.diff(track.stamps) > 0).all()


@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.floats(-90, 90), st.floats(-180, 180)),
        min_size=1,
        max_size=8,
        unique_by=lambda each: each[0],
    )
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_table_comes_back_in_the_order_of_time(tmp_path, lines):
    with (tmp_path / "truth.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerows([("stamp", "latitude", "longitude"), *lines])
    track = read_truth(tmp_path / "truth.csv")
    stamps, latitudes, longitudes = zip(*sorted(lines), strict=True)
    assert track.stamps.tolist() == list(stamps)
    assert track.positions[:, 0].tolist() == list(latitudes)
    assert track.positions[:, 1].tolist() == list(longitudes)
