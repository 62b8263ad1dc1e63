"""`training/data.py check`: what it says of data, and each mistake that it finds."""

from datetime import datetime, timezone

import cv2
import numpy as np
import pytest

from test.as_command import check_refusal, script
from test.conftest import DATUM, texture, write_image_folder
from test.small_drive import write_drive
from test.test_clock_offset import stop_and_go
from training.data import check
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import GeotaggedImages

NOON = int(datetime(2025, 7, 2, 12, 0, 0, tzinfo=timezone.utc).timestamp())


def write_table(folder, rows, header="image,latitude,longitude,heading,stamp,session"):
    """Write a folder of textures, an image for each row."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        cv2.imwrite(str(folder / f"{number:03d}.png"), texture(number, 12, 16))
        lines.append(",".join(map(str, (f"{number:03d}.png", *row))))
    (folder / "images.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def loop(count=40, session="loop", swap=False):
    """Rows of a round trip of 400 m, each looking ahead, one a second."""
    angle = np.linspace(0, 2 * np.pi, count)
    places = to_geodetic(np.stack([64 * np.cos(angle), 64 * np.sin(angle), 0 * angle], axis=1), DATUM)
    for number, (latitude, longitude, _) in enumerate(places.tolist()):
        place = (longitude, latitude) if swap else (latitude, longitude)
        yield (*place, -np.degrees(angle[number]) % 360, NOON * 10**9 + number * 10**9 + 500, session)


@pytest.fixture
def said(call):
    """Check a folder; return the lines that tell of mistakes, and the others."""

    def said(data, *options, status=None):
        found, output, errors = call(check, "--data", data, *options)
        wrong = [line for line in output.splitlines() if line.startswith("wrong: ")]
        assert found == (1 if wrong else 0) if status is None else status, errors
        assert ("nothing wrong was found" in output) == (not wrong)
        return wrong, output

    return said


def test_what_it_says_of_good_data(said, tmp_path):
    wrong, output = said(write_table(tmp_path / "loop", loop()), "--picture", tmp_path / "track.png")
    assert wrong == []
    for line in (
        "format: folder",
        "images: 40",
        "area: 128 m east to west, 128 m north to south, about https://www.openstreetmap.org/?mlat=52.0",
        "spacing: 10.3 m at the median",
        "headings: of all images",
        "altitudes: none",
        "stamps: of all images, 2025-07-02T12:00:00.000Z to 2025-07-02T12:00:39.000Z",
        "sessions: 1",
        "  loop: 40 images, 402 m, from 2025-07-02T12:00:00.000Z",
    ):
        assert line in output
    picture = cv2.imread(str(tmp_path / "track.png"))
    assert picture.shape[0] > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_as_a_command(tmp_path):
    folder = write_image_folder(tmp_path / "walk", 3)
    done = script("data.py", "check", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("format: folder\nimages: 3\n")
    (folder / "001.png").unlink()
    done = script("data.py", "check", folder, cwd=tmp_path)
    assert done.returncode == 1
    assert "wrong: " in done.stdout
    done = script("data.py", "check", folder, "--images", "-1", cwd=tmp_path)
    check_refusal(done.returncode, done.stdout, done.stderr, "--images -1")


# --- latitude and longitude


def test_swapped_beyond_the_pole(said, tmp_path):
    wrong, _ = said(write_table(tmp_path / "a", [(139.7, 35.6, "", "", "")]))
    assert len(wrong) == 1
    assert "are latitude and longitude swapped?" in wrong[0]


def test_swapped_by_their_headings(said, tmp_path):
    wrong, _ = said(write_table(tmp_path / "a", loop(swap=True)))
    assert len(wrong) == 1
    assert "swapped" in wrong[0]
    assert "1.00 of 1" in wrong[0]


def test_one_session_swapped(said, tmp_path):
    rows = [*loop(5, "monday"), *loop(5, "tuesday"), *loop(5, "wednesday", swap=True)]
    wrong, _ = said(write_table(tmp_path / "a", rows))
    assert len(wrong) == 1
    assert "session 'wednesday' are swapped" in wrong[0]


def test_a_camera_that_looks_sideways_is_no_mistake(said, tmp_path):
    rows = [(*row[:2], (row[2] + 90) % 360, *row[3:]) for row in loop()]
    assert said(write_table(tmp_path / "a", rows))[0] == []


def test_metres_instead_of_degrees(said, tmp_path):
    wrong, _ = said(write_table(tmp_path / "a", [(5247000, 465000, "", "", "")]))
    assert "is it in metres?" in wrong[0]


def test_a_utm_zone_that_is_missing_or_another(said, tmp_path):
    for name, part in (
        ("@465000@5247000@.png", "no UTM zone"),
        ("@465000@5247000@32@M@.png", "is the zone right?"),
    ):
        folder = tmp_path / part.replace("?", "")
        folder.mkdir()
        cv2.imwrite(str(folder / name), texture(0))
        wrong, output = said(folder)
        assert "format: utm" in output
        assert len(wrong) == 1
        assert part in wrong[0]
    assert said(f"utm,zone=32T:{tmp_path / 'no UTM zone'}")[0] == []


# --- images without a fix, and images that are there twice


def test_images_without_a_row(said, tmp_path):
    folder = write_table(tmp_path / "a", loop())
    for number in range(3):
        cv2.imwrite(str(folder / f"more{number}.png"), texture(100 + number))
    wrong, _ = said(folder)
    assert wrong == ["wrong: 3 of 43 images have no fix: they are left out"]


def test_images_at_zero_zero(said, tmp_path):
    rows = [(0, 0, *row[2:]) if number in (7, 8) else row for number, row in enumerate(loop())]
    wrong, _ = said(write_table(tmp_path / "a", rows))
    assert wrong == ["wrong: 2 images lie at latitude 0, longitude 0, 007.png first: they have no fix"]


def test_images_of_a_bag_outside_its_fixes(said, tmp_path):
    bag = write_drive(tmp_path / "drive", 12, period=10**9, fixes=range(6))
    wrong, output = said(bag)
    assert wrong == ["wrong: 6 of 12 images have no fix: they are left out"]
    assert "format: bag" in output
    assert said(write_drive(tmp_path / "whole", 12, period=10**9))[0] == []


def test_images_that_are_gone_or_damaged(said, tmp_path):
    folder = write_table(tmp_path / "a", loop())
    (folder / "003.png").unlink()
    wrong, _ = said(folder)
    assert len(wrong) == 1
    assert "003.png: no such image" in wrong[0]
    (folder / "002.png").write_bytes(b"no image")
    wrong, _ = said(folder)
    assert len(wrong) == 1
    assert "2 images cannot be read" in wrong[0]


def test_an_image_that_the_system_refuses_to_read(said, tmp_path, monkeypatch):
    undecoded = GeotaggedImages.undecoded

    def refusing(table, row):
        if row == 4:
            raise PermissionError(13, "Permission denied", "004.png")
        return undecoded(table, row)

    monkeypatch.setattr(GeotaggedImages, "undecoded", refusing)
    wrong, _ = said(write_table(tmp_path / "a", loop()))
    assert wrong == ["wrong: [Errno 13] Permission denied: '004.png'"]


def test_copies(said, tmp_path):
    folder = write_table(tmp_path / "a", loop())
    for number in (11, 12):
        (folder / f"0{number}.png").write_bytes((folder / "010.png").read_bytes())
    wrong, _ = said(folder)
    assert wrong == ["wrong: 2 images are copies of another one, such as 011.png of 010.png"]
    assert said(folder, "--images", 11)[0] == []  # the others are not opened


def test_stamps_that_are_there_twice(said, tmp_path):
    rows = list(loop())
    rows[5] = (*rows[5][:3], rows[4][3], "loop")
    wrong, _ = said(write_table(tmp_path / "a", rows))
    assert len(wrong) == 1
    assert "1 images of session 'loop' have the stamp of another one, 004.png first" in wrong[0]


def test_stamps_of_whole_seconds_or_days_are_no_mistake(said, tmp_path):
    seconds = [(*row[:3], row[3] // 10**10 * 10**10, row[4]) for row in loop()]
    assert said(write_table(tmp_path / "a", seconds))[0] == []
    day = [(*row[:3], NOON * 10**9 + 5, row[4]) for row in loop()]
    assert said(write_table(tmp_path / "b", day))[0] == []


# --- clocks


@pytest.fixture(scope="module")
def ride(tmp_path_factory):
    """Frames of a ride past a long wall, four a second, and its GPX; the camera's clock is 4.5 s behind."""
    folder, random = tmp_path_factory.mktemp("ride"), np.random.default_rng(0)
    seconds = np.arange(0, 150, 0.25)
    fine = np.arange(-20, 180, 0.01)
    metres = np.cumsum(stop_and_go(fine + 100)) * 0.01
    wall = cv2.GaussianBlur(random.integers(0, 256, (48, 12000, 3), np.uint8), (0, 0), 3)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    for second in seconds.tolist():
        column = int(8 * np.interp(second + 4.5, fine, metres))
        view = wall[:, column : column + 64] // 2 + random.integers(
            0, 16, (48, 64, 3), np.uint8
        )  # sensor noise
        cv2.imwrite(str(folder / f"{round((NOON + second) * 1000)}.png"), view)
    points = []
    for second in range(-10, 170):
        latitude, longitude, _ = to_geodetic([np.interp(second, fine, metres), 0, 0], DATUM).tolist()
        time = datetime.fromtimestamp(NOON + second, timezone.utc).isoformat()
        points.append(f'<trkpt lat="{latitude:.9f}" lon="{longitude:.9f}"><time>{time}</time></trkpt>')
    track = f'<gpx version="1.1"><trk><trkseg>{"".join(points)}</trkseg></trk></gpx>'
    (folder / "ride.gpx").write_text(track)
    return folder


def test_a_camera_whose_clock_is_behind(said, ride):
    wrong, output = said(ride)
    assert "format: track" in output
    assert len(wrong) == 1
    assert "s behind the GPS's: add +4." in wrong[0]
    assert "certain" in output


def test_the_offset_that_it_tells_cures_it(said, ride):
    wrong, output = said(f"track,clock_offset=4.5:{ride}")
    assert wrong == []
    assert "none that can be told" in output


def test_a_source_that_cannot_be_read_is_a_mistake_of_the_data(said, tmp_path):
    wrong, _ = said(tmp_path / "gone")
    assert len(wrong) == 1
    assert "no such folder" in wrong[0]
