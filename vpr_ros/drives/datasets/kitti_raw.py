"""KITTI raw: a drive with oxts/ of its GPS and image_02/ of its left colour camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.drives.datasets.along_track import along_track
from vpr_ros.drives.datasets.written_time import stamp_of
from vpr_ros.drives.track import Track
from vpr_ros.errors import InputError
from vpr_ros.geodesy import yaw_to_heading
from vpr_ros.geotagged import GeotaggedImages, make_rows
from vpr_ros.images.image_files import images_below

_TIMES = "timestamps.txt"
#: Left colour, or left grey.
_CAMERAS = ("image_02", "image_00")


def is_kitti_raw(folder: Path) -> bool:
    """Tell whether a folder looks like one drive."""
    return (folder / "oxts" / _TIMES).is_file()


def read_kitti_raw(folder: Path, max_fix_gap: float = 2.0, spacing: float = 0.0) -> GeotaggedImages:
    """Read one drive, synced or not; its local time is read as UTC.

    Args:
        folder: such as 2011_09_26/2011_09_26_drive_0001_sync.
        max_fix_gap: seconds between two fixes above which images between them are left out.
        spacing: metres driven from one image to the next; 0 keeps all.
    """
    fixes = sorted((folder / "oxts" / "data").glob("*.txt"))
    fix_stamps = _stamps(folder / "oxts" / _TIMES, len(fixes), "fixes in oxts/data/")
    camera = next((folder / name for name in _CAMERAS if (folder / name).is_dir()), folder / _CAMERAS[0])
    images = [file.relative_to(folder).as_posix() for file in images_below(camera / "data")]
    stamps = _stamps(camera / _TIMES, len(images), f"images in {camera.name}/data/")
    oxts = np.array([_first_six(file) for file in fixes])
    latitude, longitude, altitude = oxts[:, :3].T
    names = [file.name for file in fixes]
    # the ranges are those of every geotag
    make_rows(str(folder), image=names, latitude=latitude, longitude=longitude, altitude=altitude)
    # in a synced drive a fix belongs to the image of its number, though their clocks differ by milliseconds
    synced = len(fixes) == len(images)
    track = Track(stamps if synced else fix_stamps, oxts[:, :3], yaw_to_heading(oxts[:, 5]))
    sessions = [folder.resolve().name] * len(images)
    return along_track(folder, images, stamps, sessions, track, max_fix_gap, spacing)


def _stamps(file: Path, count: int, what: str) -> NDArray[np.int64]:
    if not file.is_file():
        raise InputError(f"{file}: no such file: expected a time a line")
    lines = [line for line in file.read_text(encoding="ascii", errors="replace").splitlines() if line.strip()]
    if not count or len(lines) != count:
        raise InputError(f"{file}: {len(lines)} times of {count} {what}: expected one for each")
    stamps = np.array([stamp_of(line) for line in lines], np.int64)
    if (wrong := np.flatnonzero((stamps == 0) | (np.diff(stamps, prepend=0) <= 0))).size:
        number = int(wrong[0])
        raise InputError(f"{file}:{number + 1}: '{lines[number][:40]}': expected rising times")
    return stamps


def _first_six(file: Path) -> list[float]:
    """Return latitude, longitude (degrees), altitude (m), roll, pitch, yaw (radians from east) of a fix."""
    try:
        numbers = [float(word) for word in file.read_text(encoding="ascii").split()[:6]]
    except ValueError as error:
        raise InputError(f"{file}: not numbers ({error}): download it again") from error
    if len(numbers) < 6 or not np.isfinite(numbers).all():
        raise InputError(f"{file}: {len(numbers)} numbers: expected 30, latitude and longitude first")
    return numbers
