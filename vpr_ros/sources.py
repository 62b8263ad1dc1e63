"""Geotagged images from whatever a path holds: a bag, or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read one source, or several as one table, or one session of it, or some rows of that.

    Args:
        paths: bags or folders.
        session: only its images.
        rows: "start:stop:step" as in Python; "::2" is every other image.
        image_topic: as for `vpr_ros.bag.read_bag`.
        fix_topic: likewise.
        max_fix_gap: likewise.
        spacing: likewise.
    """
    each = [paths] if isinstance(paths, Path) else paths
    if not each:
        raise InputError("no data named: expected a bag or a folder of images")
    images = join([read_source(path, image_topic, fix_topic, max_fix_gap, spacing) for path in each])
    if session is not None:
        images = only_session(images, session)
    return images if rows is None else _only_rows(images, rows)


def _only_rows(images: GeotaggedImages, rows: str) -> GeotaggedImages:
    try:
        start, stop, *step = (int(part) if part else None for part in rows.split(":"))
        chosen = np.arange(len(images))[slice(start, stop, *step)]
    except (ValueError, TypeError) as error:
        raise InputError(f"rows '{rows}': expected start:stop:step, such as ::2") from error
    if not len(chosen):
        raise InputError(f"rows '{rows}' of {len(images)} images: none is left")
    return images.select(chosen)
