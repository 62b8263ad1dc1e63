"""Tracks in GPX, NMEA and csv, and photographs beside them."""

import logging
from datetime import datetime, timezone
from functools import reduce

import numpy as np
import pytest
from PIL import ExifTags, Image

from test.error_lines import check_line, input_error
from vpr_ros.drives.datasets.image_times import image_times
from vpr_ros.drives.datasets.photos_and_track import read_photos_and_track
from vpr_ros.drives.datasets.track_file import read_track
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_enu, to_geodetic
from vpr_ros.images.pixels import compress
from vpr_ros.sources import read_source

DATUM = Datum(52.0, 5.0, 0.0)
NOON = int(datetime(2025, 7, 2, 12, 0, 0, tzinfo=timezone.utc).timestamp())
SECOND = 10**9


def position(seconds):
    """Return latitude, longitude, altitude of a ride to the east at 5 m/s."""
    return to_geodetic([5.0 * seconds, 0.0, 20.0], DATUM).tolist()


def when(seconds):
    return datetime.fromtimestamp(NOON + seconds, timezone.utc)


def gpx(seconds=range(0, 60), head="", time=lambda second: f"<time>{when(second).isoformat()}</time>"):
    points = [
        f'<trkpt lat="{latitude:.9f}" lon="{longitude:.9f}"><ele>{altitude:.3f}</ele>{time(second)}</trkpt>'
        for second in seconds
        for latitude, longitude, altitude in [position(second)]
    ]
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}'
        '<gpx version="1.1" creator="test" xmlns="http://www.topografix.com/GPX/1/1">'
        f"<trk><name>ride</name><trkseg>{''.join(points)}</trkseg></trk></gpx>"
    )


def sentence(text):
    return f"${text}*{reduce(lambda total, letter: total ^ ord(letter), text, 0):02X}"


def angle(degrees, width, letters):
    whole, minutes = divmod(abs(degrees) * 60, 60)
    return f"{int(whole):0{width}d}{minutes:010.7f},{letters[degrees < 0]}"


def rmc(second, status="A", at=None):
    latitude, longitude, _ = at or position(second)
    time = when(second)
    place = f"{angle(latitude, 2, 'NS')},{angle(longitude, 3, 'EW')}" if status == "A" else ",,,"
    return sentence(
        f"GNRMC,{time:%H%M%S}.{time.microsecond // 10000:02d},{status},{place},9.7,90.0,{time:%d%m%y},,,A"
    )


def gga(second, quality=1, at=None):
    latitude, longitude, altitude = at or position(second)
    place = f"{angle(latitude, 2, 'NS')},{angle(longitude, 3, 'EW')}"
    return sentence(f"GNGGA,{when(second):%H%M%S}.00,{place},{quality},09,0.9,{altitude - 45:.2f},M,45.0,M,,")


def write(file, text):
    file.write_text(text)
    return file


def check(track, seconds, altitude=20.0):
    assert track.stamps.tolist() == [(NOON + second) * SECOND for second in seconds]
    expected = [position(second) for second in seconds]
    np.testing.assert_allclose(track.positions[:, :2], np.array(expected)[:, :2], atol=1e-7)
    np.testing.assert_allclose(track.positions[:, 2], altitude, atol=0.01)


# --- GPX


def test_gpx(tmp_path):
    check(read_track(write(tmp_path / "ride.gpx", gpx())), range(60))


def test_gpx_in_any_order_with_points_twice(tmp_path):
    check(read_track(write(tmp_path / "ride.GPX", gpx([5, 3, 4, 3, 6]))), [3, 4, 5, 6])


def test_gpx_times_of_other_zones_and_fractions(tmp_path):
    times = {0: "2025-07-02T14:00:00+02:00", 1: "2025-07-02T12:00:01.25Z"}
    track = read_track(
        write(tmp_path / "a.gpx", gpx([0, 1], time=lambda second: f"<time>{times[second]}</time>"))
    )
    assert (track.stamps - NOON * SECOND).tolist() == [0, 1_250_000_000]


def test_gpx_points_without_a_time_are_left_out(tmp_path):
    track = read_track(
        write(
            tmp_path / "a.gpx",
            gpx([0, 1, 2], time=lambda s: "" if s == 1 else f"<time>{when(s).isoformat()}</time>"),
        )
    )
    check(track, [0, 2])
    with input_error(tmp_path / "b.gpx", "none of its 2 track points has a time"):
        read_track(write(tmp_path / "b.gpx", gpx([0, 1], time=lambda _: "")))


BOMB = '<!DOCTYPE gpx [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE gpx [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("head", [BOMB, OUTSIDE, '<!DOCTYPE gpx SYSTEM "http://example.com/gpx.dtd">'])
def test_gpx_with_entities_is_refused(tmp_path, head):
    with input_error(tmp_path / "a.gpx", "document type", "remove"):
        read_track(write(tmp_path / "a.gpx", gpx(head=head)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<gpx>",
        "<kml/>",
        gpx()[:500],
        gpx().replace("52.0", "fifty"),
        gpx().replace('lat="52', 'lat="152'),
    ],
)
def test_gpx_that_is_none(tmp_path, text):
    with input_error(tmp_path / "a.gpx"):
        read_track(write(tmp_path / "a.gpx", text))


@pytest.mark.parametrize("data", [gpx().encode("utf-16"), b"\xff\xfe\xfa"])
def test_gpx_in_another_encoding(tmp_path, data):
    (tmp_path / "a.gpx").write_bytes(data)
    with input_error(tmp_path / "a.gpx", "UTF-8"):
        read_track(tmp_path / "a.gpx")


# --- NMEA


@pytest.mark.parametrize("order", [(rmc, gga), (gga, rmc)])
def test_nmea(tmp_path, order):
    lines = [make(second) for second in range(10) for make in order]
    check(read_track(write(tmp_path / "ride.nmea", "\r\n".join(lines))), range(10))


def test_nmea_of_all_four_quarters_of_the_earth(tmp_path):
    places = [(52.5, 5.25, 0), (-33.85, 151.2, 0), (-22.9, -43.2, 0), (40.4, -79.9, 0)]
    lines = [rmc(second, at=place) for second, place in enumerate(places)]
    track = read_track(write(tmp_path / "a.nmea", "\n".join(lines)))
    np.testing.assert_allclose(track.positions[:, :2], np.array(places)[:, :2], atol=1e-7)
    assert np.isnan(track.positions[:, 2]).all()


def test_nmea_without_a_fix_damaged_or_of_another_kind(tmp_path, caplog):
    good = [rmc(0), gga(0), "1751457600.12 " + rmc(1), gga(1, quality=0)]
    other = [sentence("GPGSV,3,1,11,10,63,137,17,07,61,098,15"), "# comment", "", rmc(2, status="V")]
    bad = [rmc(3).replace("9.7", "9.8"), rmc(4)[:30], "$GNRMC*", "$"]
    with caplog.at_level(logging.WARNING):
        track = read_track(write(tmp_path / "a.nmea", "\n".join(good + other + bad)))
    check(track, [0, 1], altitude=[20.0, np.nan])
    assert "4 damaged sentences" in caplog.text


def test_nmea_across_midnight(tmp_path):
    lines = [make(12 * 3600 + second) for second in (-1, 0, 1) for make in (gga, rmc)]
    assert np.diff(read_track(write(tmp_path / "a.nmea", "\n".join(lines))).stamps).tolist() == [
        SECOND,
        SECOND,
    ]


@pytest.mark.parametrize("text", ["", "no nmea", gga(0), rmc(0, status="V"), sentence("GNRMC,,A,,,,,,,,,,A")])
def test_nmea_that_says_nothing(tmp_path, text):
    with input_error(tmp_path / "a.nmea", "no valid RMC"):
        read_track(write(tmp_path / "a.nmea", text))


def test_any_damage_of_a_track_gives_a_track_or_one_line(tmp_path):
    random = np.random.default_rng(0)
    for name, text in (("a.gpx", gpx(range(3))), ("a.nmea", "\n".join([rmc(0), gga(0), rmc(1)]))):
        whole, tracks = text.encode(), 0
        for _ in range(300):
            data = bytearray(whole)
            data[random.integers(len(data))] = random.integers(256)
            (tmp_path / name).write_bytes(data)
            try:
                tracks += len(read_track(tmp_path / name).stamps) > 0
            except InputError as error:
                check_line(error, tmp_path / name)
        assert tracks > 0


# --- other files


def test_csv(tmp_path):
    lines = [f"{(NOON + s) * SECOND},{position(s)[0]:.9f},{position(s)[1]:.9f},20" for s in range(3)]
    check(
        read_track(write(tmp_path / "a.csv", "\n".join(["stamp,latitude,longitude,altitude", *lines]))),
        range(3),
    )


@pytest.mark.parametrize("name", ["a.kml", "a", "gone.gpx", "gone.nmea", "gone.csv"])
def test_files_that_are_no_tracks(tmp_path, name):
    (tmp_path / "a.kml").touch()
    with input_error(tmp_path / name):
        read_track(tmp_path / name)


# --- when images were taken


def photograph(file, time=None, offset=None):
    exif = Image.Exif()
    if time is not None:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.DateTimeOriginal] = time
        if offset is not None:
            details[ExifTags.Base.OffsetTimeOriginal] = offset
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (200, 100, 50)).save(file, exif=exif)


@pytest.mark.parametrize(
    ("time", "offset", "seconds"),
    [
        ("2025:07:02 12:00:05", None, 5),
        ("2025:07:02 14:00:05", "+02:00", 5),
        ("2025:07:02 06:30:05", "-05:30", 5),
        ("2025:07:02 12:00:05", "Z", 5),
        ("2025:07:02 12:00:05", "two hours", 5),
    ],
)
def test_times_of_exif_and_their_offset(tmp_path, time, offset, seconds):
    photograph(tmp_path / "a.jpg", time, offset)
    assert image_times(tmp_path) == {"a.jpg": (NOON + seconds) * SECOND}


@pytest.mark.parametrize(
    ("stem", "nanoseconds"),
    [
        (f"{NOON}", 0),
        (f"{NOON}.763555584", 763555584),
        (f"{NOON}_5", 500_000_000),
        (f"{NOON}250", 250_000_000),
        (f"{NOON}250000", 250_000_000),
        (f"{NOON}763555584", 763555584),
        ("IMG_20250702_120000", 0),
        ("PXL_20250702_120000250", 250_000_000),
        ("2025-07 VID-20250702-120000 (1)", 0),
        ("000017", None),
        ("IMG_20251302_120000", None),
        ("9999999999999999999", None),
    ],
)
def test_times_of_names(tmp_path, stem, nanoseconds):
    photograph(tmp_path / f"{stem}.png")
    expected = 0 if nanoseconds is None else NOON * SECOND + nanoseconds
    assert image_times(tmp_path) == {f"{stem}.png": expected}


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["image,time", "a.png,1"], ("'stamp'",)),
        (["image,stamp", "a.png,noon"], (":2:", "'noon'")),
        (["image,stamp", "a.png"], (":2:", "''")),
        (["image,stamp", "a.png,99999999999999999999"], (":2:",)),
        (["image,stamp", "../a.png,1"], ("outside",)),
    ],
)
def test_tables_of_times_that_are_wrong(tmp_path, lines, parts):
    write(tmp_path / "images.csv", "\n".join(lines))
    with input_error(tmp_path / "images.csv", *parts):
        image_times(tmp_path)


# --- together


@pytest.fixture
def ride(tmp_path):
    """A track of a minute, and frames each two seconds of it, beginning before it."""
    write(tmp_path / "ride.gpx", gpx())
    for second in range(-2, 60, 2):
        (tmp_path / f"{NOON + second}.500000000.png").write_bytes(
            compress(np.full((4, 6, 3), second % 256, np.uint8), ".png")
        )
    return tmp_path


def easts(images):
    return to_enu(images.rows["latitude"], images.rows["longitude"], np.nan, DATUM)[:, 0]


def test_images_are_placed_along_the_track(ride):
    images = read_source(ride)
    seconds = np.arange(0, 60, 2)  # the one before it begins is left out
    np.testing.assert_allclose(easts(images), 5 * (seconds + 0.5), atol=1e-3)
    np.testing.assert_allclose(images.rows["heading"], 90, atol=0.1)
    assert images.rows["stamp"][0] == NOON * SECOND + 500_000_000
    assert images.read(3)[0, 0, 0] == 6


def test_the_cameras_clock_may_be_wrong(ride):
    images = read_photos_and_track(ride, clock_offset=3.5)
    np.testing.assert_allclose(easts(images)[:3], [10, 20, 30], atol=1e-3)
    with input_error(ride, "no image between", "one clock", "clock_offset"):
        read_photos_and_track(ride, clock_offset=7200)


def test_spacing_gaps_and_a_track_elsewhere(ride, tmp_path):
    elsewhere = tmp_path / "tracks" / "gaps.nmea"
    elsewhere.parent.mkdir()
    write(elsewhere, "\n".join(rmc(second) for second in [*range(20), *range(40, 60)]))
    images = read_photos_and_track(ride, elsewhere, spacing=25.0)
    np.testing.assert_allclose(easts(images), [2.5, 32.5, 62.5, 92.5, 202.5, 232.5, 262.5, 292.5], atol=1e-3)


def test_folders_below_are_sessions(ride):
    photograph(ride / "phone" / "IMG_20250702_120010.jpg")
    rows = read_source(ride).rows
    assert rows["session"][rows["image"] == "phone/IMG_20250702_120010.jpg"].tolist() == ["phone"]
    assert set(rows["session"].tolist()) == {"", "phone"}


def test_images_without_a_time_are_left_out_and_told(ride, caplog):
    photograph(ride / "portrait.jpg")
    with caplog.at_level(logging.WARNING):
        assert len(read_source(ride)) == 30
    assert "1 images without a time" in caplog.text


def test_no_image_has_a_time(tmp_path):
    write(tmp_path / "ride.gpx", gpx())
    photograph(tmp_path / "portrait.jpg")
    with input_error(tmp_path, "none of its 1 images", "images.csv"):
        read_source(tmp_path)


def test_two_tracks_and_one_that_is_named(ride):
    write(ride / "other.gpx", gpx())
    with input_error(ride, "other.gpx, ride.gpx", "track,file="):
        read_source(ride)
    assert len(read_photos_and_track(ride, ride / "ride.gpx")) == 30


def test_a_table_of_positions_beats_a_track_and_one_of_times_does_not(ride):
    name = f"{NOON}.500000000.png"
    write(ride / "images.csv", f"image,stamp\n{name},{NOON * SECOND}")
    np.testing.assert_allclose(easts(read_source(ride)), [0], atol=1e-3)
    write(ride / "images.csv", f"image,latitude,longitude\n{name},1.5,2.5")
    assert read_source(ride).rows["latitude"].tolist() == [1.5]
