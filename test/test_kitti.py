"""KITTI odometry and raw, as their archives unpack."""

from pathlib import Path

import numpy as np
import pytest

from test.error_lines import input_error
from vpr_ros.drives.datasets.kitti_odometry import read_kitti_odometry
from vpr_ros.drives.datasets.kitti_raw import read_kitti_raw
from vpr_ros.geodesy import Datum, to_enu, to_geodetic
from vpr_ros.images.pixels import compress
from vpr_ros.sources import read_source

DATUM = Datum(49.0, 8.4, 115.0)


def put(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:010d}.png").write_bytes(compress(np.full((4, 6, 3), number, np.uint8), ".png"))


def pose(right, down, ahead, turned=0.0):
    """Return a line of poses/: where the camera is, turned to the right by so many degrees."""
    sine, cosine = np.sin(np.radians(turned)), np.cos(np.radians(turned))
    matrix = [[cosine, 0, sine, right], [0, 1, 0, down], [-sine, 0, cosine, ahead]]
    return " ".join(f"{value:.9e}" for value in np.ravel(matrix))


@pytest.fixture
def sequence(tmp_path):
    folder = tmp_path / "dataset" / "sequences" / "07"
    put(folder / "image_2", 3)
    (folder / "times.txt").write_text("0.000000e+00\n1.037360e-01\n2.073120e-01\n")
    poses = tmp_path / "dataset" / "poses"
    poses.mkdir()
    (poses / "07.txt").write_text("\n".join([pose(0, 0, 0), pose(0, -1, 10), pose(5, 0, 10, 90)]) + "\n")
    return folder


def enu(images):
    rows = images.rows
    return to_enu(rows["latitude"], rows["longitude"], rows["altitude"], DATUM)


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        (90.0, [[0, 0, 0], [10, 0, 1], [10, -5, 0]]),
        (0.0, [[0, 0, 0], [0, 10, 1], [5, 10, 0]]),
        (225.0, [[0, 0, 0], [-(50**0.5), -(50**0.5), 1], [-10.6066017, -3.5355339, 0]]),
    ],
)
def test_poses_of_the_camera_about_a_datum(sequence, heading, expected):
    images = read_kitti_odometry(sequence, DATUM, heading)
    np.testing.assert_allclose(enu(images), expected, atol=1e-3)
    np.testing.assert_allclose(images.rows["heading"], [heading, heading, (heading + 90) % 360], atol=1e-6)
    assert images.rows["stamp"].tolist() == [0, 103736000, 207312000]
    assert images.rows["session"].tolist() == ["07"] * 3
    assert [images.read(row)[0, 0, 0] for row in range(3)] == [0, 1, 2]


def test_it_is_told_by_its_looks_and_asks_for_a_datum(sequence):
    with input_error(sequence, "kitti,datum="):
        read_source(sequence)
    images = read_source(Path(f"kitti,datum=49.0/8.4/115.0,heading=0:{sequence}"))
    assert len(images) == 3


def test_poses_elsewhere_grey_images_and_spacing(sequence, tmp_path):
    (sequence / "image_2").rename(sequence / "image_0")
    (tmp_path / "dataset" / "poses" / "07.txt").rename(tmp_path / "elsewhere.txt")
    images = read_kitti_odometry(sequence, DATUM, poses=tmp_path / "elsewhere.txt", spacing=8.0)
    assert images.rows["image"].tolist() == [f"image_0/{number:010d}.png" for number in (0, 1)]


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("sequences/07/times.txt", "0\n1\n", ("2 times", "3 poses")),
        ("sequences/07/times.txt", "0\n2\n1\n", ("do not rise",)),
        ("sequences/07/times.txt", "0\none\n2\n", ("times.txt", "1 numbers a line")),
        ("poses/07.txt", pose(0, 0, 0), ("1 poses",)),
        ("poses/07.txt", "\n".join(["1 2 3"] * 3), ("3 numbers a line", "expected 12")),
        ("poses/07.txt", "\n".join([pose(0, 0, np.nan)] * 3), ("finite",)),
    ],
)
def test_damaged_sequences(sequence, name, text, parts):
    (sequence.parents[1] / name).write_text(text)
    with input_error(sequence.parents[1], *parts):
        read_kitti_odometry(sequence, DATUM)


def test_sequences_without_poses(sequence):
    """As 11 to 21 are handed out."""
    (sequence.parents[1] / "poses" / "07.txt").unlink()
    with input_error("poses/07.txt", "no such file"):
        read_kitti_odometry(sequence, DATUM)


# --- raw


def time(seconds):
    return f"2011-09-26 13:02:{seconds:012.9f}"


def oxts(east, north, yaw):
    latitude, longitude, altitude = to_geodetic([east, north, 3.0], DATUM).tolist()
    return " ".join(
        [f"{value:.13f}" for value in (latitude, longitude, altitude, 0.02, 0.01, yaw)] + ["0.5"] * 24
    )


@pytest.fixture
def drive(tmp_path):
    """Three images and three fixes, each 3 ms after its image."""
    folder = tmp_path / "2011_09_26_drive_0001_sync"
    put(folder / "image_02" / "data", 3)
    put(folder / "image_03" / "data", 3)
    (folder / "oxts" / "data").mkdir(parents=True)
    for number in range(3):
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(
            oxts(2 * number, number, np.radians(30 * number))
        )
    for name, offset in (("image_02", 0.0), ("oxts", 0.003)):
        (folder / name / "timestamps.txt").write_text(
            "\n".join(time(25.5 + n / 10 + offset) for n in range(3)) + "\n"
        )
    return folder


def test_a_synced_drive_goes_by_number(drive):
    images = read_source(drive)
    np.testing.assert_allclose(enu(images), [[0, 0, 3], [2, 1, 3], [4, 2, 3]], atol=1e-3)
    np.testing.assert_allclose(images.rows["heading"], [90, 60, 30], atol=1e-6)
    assert images.rows["stamp"][1] == 1317042145_600000000
    assert images.rows["image"][2] == "image_02/data/0000000002.png"
    assert images.read(2)[0, 0, 0] == 2


def test_a_drive_that_is_not_synced_goes_by_time(drive):
    (drive / "image_02/data/0000000002.png").unlink()
    (drive / "image_02/timestamps.txt").write_text(f"{time(25.553)}\n{time(25.653)}\n")
    np.testing.assert_allclose(enu(read_kitti_raw(drive)), [[1, 0.5, 3], [3, 1.5, 3]], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("oxts/data/0000000001.txt", "49.0 8.4", ("2 numbers", "30")),
        ("oxts/data/0000000001.txt", "49.0 x 1 1 1 1", ("not numbers",)),
        ("oxts/data/0000000001.txt", "95.0 8.4 1 1 1 1", ("latitude 95",)),
        ("oxts/timestamps.txt", "", ("0 times of 3 fixes",)),
        ("image_02/timestamps.txt", f"{time(1)}\n{time(2)}\n", ("2 times of 3 images",)),
        ("image_02/timestamps.txt", f"{time(2)}\n{time(1)}\n{time(3)}\n", (":2:", "rising")),
        ("image_02/timestamps.txt", f"{time(1)}\nnoon\n{time(3)}\n", (":2:", "noon")),
    ],
)
def test_damaged_drives(drive, name, text, parts):
    (drive / name).write_text(text)
    with input_error(drive, *parts):
        read_kitti_raw(drive)


def test_a_drive_without_images(drive):
    (drive / "image_02" / "timestamps.txt").unlink()
    with input_error(drive / "image_02" / "timestamps.txt", "no such file"):
        read_kitti_raw(drive)
