"""Images with times, and beside them the track that says where they were taken."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np

from vpr_ros.drives.datasets.along_track import along_track
from vpr_ros.drives.datasets.image_times import image_times
from vpr_ros.drives.datasets.track_file import SUFFIXES, read_track
from vpr_ros.drives.folder import TABLE
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.image_files import folder_of

logger = logging.getLogger(__name__)


def has_track(folder: Path) -> bool:
    """Tell whether a track lies in a folder whose images.csv, if there is one, has no positions."""
    return bool(_tracks(folder)) and "latitude" not in _columns(folder / TABLE)


def read_photos_and_track(
    folder: Path,
    file: Path | None = None,
    clock_offset: float = 0.0,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read the images of a folder, geotagged by a track; the folders below it are sessions.

    Args:
        folder: of the images; `vpr_ros.drives.datasets.image_times` says where their times come from.
        file: the track, GPX, NMEA or csv; the only one in the folder where none is named.
        clock_offset: seconds to add to the images' times: how far the camera's clock is behind.
        max_fix_gap: seconds between two points above which images between them are left out.
        spacing: metres from one image to the next; 0 keeps all.
    """
    track = read_track(file or _only_track(folder))
    times = image_times(folder)
    timed = {image: stamp for image, stamp in times.items() if stamp}
    if not timed:
        raise InputError(f"{folder}: none of its {len(times)} images says when it was taken: add {TABLE}")
    if len(timed) < len(times):
        logger.warning("%s: %d images without a time left out", folder, len(times) - len(timed))
    stamps = np.array([*timed.values()], np.int64) + round(clock_offset * 1e9)
    sessions = [folder_of(image) for image in timed]
    try:
        return along_track(folder, [*timed], stamps, sessions, track, max_fix_gap, spacing)
    except InputError as error:
        raise InputError(f"{error} (if not: track,clock_offset=SECONDS:{folder})") from error


def _tracks(folder: Path) -> list[Path]:
    return (
        sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )


def _only_track(folder: Path) -> Path:
    tracks = _tracks(folder)
    if len(tracks) != 1:
        names = ", ".join(file.name for file in tracks) or "none"
        raise InputError(f"{folder}: tracks in it: {names}: name one, as in track,file=ride.gpx:{folder}")
    return tracks[0]


def _columns(table: Path) -> list[str]:
    """Return the columns of a csv table; none where there is none."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as opened:
            return next(csv.reader(opened), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
