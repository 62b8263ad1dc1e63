"""UTM to degrees, and images that carry their UTM in their names."""

import logging

import numpy as np
import pytest

from test.error_lines import input_error
from vpr_ros.drives.datasets.utm_metres import Zone, parse_zone, to_degrees
from vpr_ros.drives.datasets.utm_names import read_utm_names
from vpr_ros.drives.datasets.written_time import stamp_of
from vpr_ros.geotagged import ground_distance, make_rows
from vpr_ros.images.pixels import compress
from vpr_ros.sources import read_source

#: Places, by PROJ 9.
CN_TOWER = (630084.30, 4833438.59, "17T", 43.642567, -79.387139)
SYDNEY = (334900.57, 6252288.75, "56H", -33.8568, 151.2153)
TOKYO_TOWER = (386437.60, 3946808.16, "54S", 35.6586, 139.7454)
QUITO = (778265.78, 9944681.96, "17M", -0.5, -78.5)
FULL = "@0386437.60@3946808.16@54@S@035.65860@0139.74540@pano7@03@090@010@@@20190702_123000@night@.jpg"


def put(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.full((4, 6, 3), number, np.uint8)
        (folder / name).write_bytes(compress(image, ".png"))
    return folder


@pytest.mark.parametrize("place", [CN_TOWER, SYDNEY, TOKYO_TOWER, QUITO])
def test_metres_to_degrees(place):
    east, north, zone, latitude, longitude = place
    ((found, across),) = to_degrees([east], [north], parse_zone(zone), "here", ["a"])
    rows = make_rows("here", latitude=[latitude, found], longitude=[longitude, across])
    assert ground_distance(rows[0], rows[1]) < 0.02  # as finely as they are written


@pytest.mark.parametrize(
    ("text", "zone"), [("32U", Zone(32, "U")), ("05q", Zone(5, "Q")), (" 60X", Zone(60, "X"))]
)
def test_zones(text, zone):
    assert parse_zone(text) == zone


@pytest.mark.parametrize("text", ["", "32", "U", "0U", "61U", "32I", "32O", "32N5", "north"])
def test_zones_that_are_none(text):
    with input_error(f"'{text}'", "such as 32U"):
        parse_zone(text)


@pytest.mark.parametrize(
    ("east", "north", "parts"),
    [
        (52.1, 4.5, ("easting 52.10", "100000")),  # degrees
        (6.3e5, -4.8e6, ("northing", "expected 0")),
        (np.nan, 4.8e6, ("easting nan",)),
        (334900.6, 6252288.8, ("zone 17T", "latitude 40 to 48")),  # of Sydney
    ],
)
def test_metres_that_are_none_of_that_zone(east, north, parts):
    with input_error("here", "b.jpg", *parts):
        to_degrees([CN_TOWER[0], east], [CN_TOWER[1], north], parse_zone("17T"), "here", ["a.jpg", "b.jpg"])


def test_the_letter_is_a_band_and_no_hemisphere():
    east, north, zone, *_ = SYDNEY
    with input_error("zone 56S", "latitude 32 to 40"):
        to_degrees([east], [north], parse_zone(zone[:-1] + "S"), "here", ["a.jpg"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970", 0),
        ("2019", 1546300800),
        ("201907", 1561939200),
        ("20190702", 1562025600),
        ("2019-07-02", 1562025600),
        ("20190702_1230", 1562070600),
        ("2019-07-02T12:30:01Z", 1562070601),
        ("20191302", 0),
        ("20190702_250000", 0),
        ("noon", 0),
        ("", 0),
        ("9999", 0),
    ],
)
def test_written_times(text, seconds):
    assert stamp_of(text) == seconds * 10**9


def test_written_fractions():
    assert stamp_of("2011-09-26 13:02:25.594360375") == 1317042145_594360375
    assert stamp_of("2011-09-26 13:02:25.5") == 1317042145_500000000


def test_everything_in_a_name(tmp_path):
    rows = read_utm_names(put(tmp_path, f"test/database/{FULL}")).rows
    assert rows["image"].tolist() == [f"test/database/{FULL}"]
    assert rows["session"].tolist() == ["test/database"]
    assert rows["heading"].tolist() == [90.0]
    assert rows["stamp"].tolist() == [1562070600 * 10**9]
    np.testing.assert_allclose([rows["latitude"][0], rows["longitude"][0]], TOKYO_TOWER[3:], atol=1e-7)
    assert np.isnan(rows["altitude"][0])


def test_east_and_north_alone_with_a_zone(tmp_path):
    folder = put(tmp_path, "@386437.60@3946808.16@.jpg", "@386447.60@3946808.16@@@@@@.jpg")
    images = read_utm_names(folder, parse_zone("54S"))
    assert np.isclose(ground_distance(images.rows[0], images.rows[1]), 10.0, atol=0.01)
    assert sorted(images.read(row)[0, 0, 0] for row in (0, 1)) == [0, 1]
    with input_error(folder, "@386437.60@3946808.16@.jpg", "no UTM zone", "utm,zone="):
        read_utm_names(folder)


def test_without_a_zone_the_degrees_count(tmp_path):
    folder = put(tmp_path, "@386437.60@3946808.16@@@35.65860@139.74540@.jpg")
    assert read_utm_names(folder).rows["latitude"][0] == 35.6586


def test_images_of_several_zones(tmp_path):
    names = [f"@{east}@{north}@{zone[:-1]}@{zone[-1]}@.jpg" for east, north, zone, *_ in (CN_TOWER, SYDNEY)]
    rows = read_utm_names(put(tmp_path, *names)).rows
    assert sorted(rows["latitude"].round(4).tolist()) == [-33.8568, 43.6426]


def test_a_zone_that_is_not_that_of_the_degrees(tmp_path):
    folder = put(tmp_path, FULL.replace("@54@", "@53@"))
    with input_error(folder, "km from its own latitude", "zone"):
        read_utm_names(folder)


def test_what_has_no_utm_is_left_out_and_told(tmp_path, caplog):
    put(tmp_path, FULL, "holiday.jpg")
    with caplog.at_level(logging.WARNING):
        assert len(read_utm_names(tmp_path)) == 1
    assert "1 images without UTM" in caplog.text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("@east@3946808.16@.jpg", ("east is 'east'",)),
        ("@386437.60@@.jpg", ("north is ''",)),
        ("@386437.60@3946808.16@99@S@.jpg", ("zone '99S'",)),
        ("@386437.60@3946808.16@54@S@x@139.7@.jpg", ("latitude is 'x'",)),
        ("@386437.60@3946808.16@54@S@@@@@ninety@.jpg", ("heading is 'ninety'",)),
    ],
)
def test_names_that_are_damaged(tmp_path, name, parts):
    with input_error(tmp_path, *parts):
        read_utm_names(put(tmp_path, name))


def test_a_folder_without_any(tmp_path):
    with input_error(tmp_path, "none of its 1 images", "@east@north@"):
        read_utm_names(put(tmp_path, "a.jpg"))


def test_a_folder_is_told_by_its_names(tmp_path):
    assert len(read_source(put(tmp_path, f"queries/{FULL}"))) == 1
