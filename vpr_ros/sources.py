"""Geotagged images from whatever a path holds: a bag, or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vpr_ros.bag import is_bag, read_bag
from vpr_ros.errors import InputError
from vpr_ros.folder import read_folder
from vpr_ros.geotagged import GeotaggedImages, join, only_session


def read_source(
    path: Path,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read a bag as `vpr_ros.bag.read_bag` does, anything else as a folder of images."""
    if is_bag(path):
        return read_bag(path, image_topic, fix_topic, max_fix_gap, spacing)
    if path.is_file():
        raise InputError(f"{path}: neither a bag (.mcap, .db3, .bag) nor a folder of images")
    return read_folder(path)


def read_sources(
    paths: Path | Sequence[Path],
    session: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read one source, or several as one table, or one session of it."""
    each = [paths] if isinstance(paths, Path) else paths
    images = join([read_source(path, image_topic, fix_topic, max_fix_gap, spacing) for path in each])
    return images if session is None else only_session(images, session)
