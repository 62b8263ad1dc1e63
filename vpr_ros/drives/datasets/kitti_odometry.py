"""KITTI odometry: a folder of sequences/, with the poses of its camera in ../../poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.drives.datasets.along_track import along_track
from vpr_ros.drives.datasets.local_frame import LocalFrame
from vpr_ros.drives.track import Track
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.image_files import images_below

TIMES = "times.txt"
#: Left colour, or left grey.
_CAMERAS = ("image_2", "image_0")


def is_kitti_odometry(folder: Path) -> bool:
    """Tell whether a folder looks like one sequence."""
    return (folder / TIMES).is_file() and any((folder / camera).is_dir() for camera in _CAMERAS)


def read_kitti_odometry(
    folder: Path,
    datum: Datum | None = None,
    heading: float = 90.0,
    poses: Path | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read one sequence.

    Args:
        folder: such as dataset/sequences/00.
        datum: where the first image was taken: KITTI does not say.
        heading: that it looked, degrees clockwise from north.
        poses: file of the poses; dataset/poses/00.txt where none is named.
        max_fix_gap: seconds between two poses above which images between them are left out.
        spacing: metres driven from one image to the next; 0 keeps all.
    """
    if datum is None:
        raise InputError(
            f"{folder}: poses are in metres: say where they begin, as in kitti,datum=49.0/8.4:{folder}"
        )
    whole = folder.resolve()
    poses = poses or whole.parent.parent / "poses" / f"{whole.name}.txt"
    times = _numbers(folder / TIMES, 1)[:, 0]
    matrices = _numbers(poses, 12).reshape(-1, 3, 4)
    camera = next((folder / name for name in _CAMERAS if (folder / name).is_dir()), folder / _CAMERAS[0])
    images = [file.relative_to(folder).as_posix() for file in images_below(camera)]
    if not len(times) == len(matrices) == len(images):
        raise InputError(
            f"{folder}: {len(times)} times, {len(images)} images in {camera.name}/, {len(matrices)} poses in "
            f"{poses}: expected as many of each"
        )
    stamps = np.round(times * 1e9).astype(np.int64)
    if (np.diff(stamps) <= 0).any():
        raise InputError(f"{folder / TIMES}: its times do not rise: download it again")
    frame = LocalFrame(datum, heading)
    # its camera looks along z with y down; the frame ahead along x with z up
    ahead, x, y = matrices[:, :, 2], matrices[:, 0, 3], matrices[:, 1, 3]
    positions = frame.positions(np.stack([matrices[:, 2, 3], -x, -y], axis=1))
    headings = frame.headings(np.arctan2(-ahead[:, 0], ahead[:, 2]))
    track = Track(stamps, positions, headings, "poses")
    return along_track(folder, images, stamps, [whole.name] * len(images), track, max_fix_gap, spacing)


def _numbers(file: Path, columns: int) -> NDArray[np.float64]:
    """Return (N, columns) of a text file of numbers."""
    if not file.is_file():
        raise InputError(f"{file}: no such file: expected {columns} numbers a line, one line for each image")
    try:
        numbers = np.loadtxt(file, np.float64, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}: expected {columns} numbers a line") from error
    if numbers.shape[1:] != (columns,) or not np.isfinite(numbers).all():
        raise InputError(f"{file}: {numbers.shape[-1]} numbers a line: expected {columns}, all finite")
    return numbers
