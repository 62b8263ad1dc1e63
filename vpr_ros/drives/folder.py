"""A folder of images, geotagged by images.csv or by their EXIF, as a table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.errors import InputError
from vpr_ros.files.csv_table import read_csv
from vpr_ros.geotagged import COLUMNS, GeotaggedImages, Rows, make_rows
from vpr_ros.images.exif import geotag, read_exif, taken
from vpr_ros.images.image_files import check_below, folder_of, image_table, images_below

logger = logging.getLogger(__name__)

TABLE = "images.csv"


def read_folder(folder: Path) -> GeotaggedImages:
    """Read a folder's images.csv or, without one, the EXIF geotags of the images below it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: expected images with {TABLE} or with EXIF geotags")
    table = folder / TABLE
    return image_table(folder, _read_table(table) if table.is_file() else _read_exif(folder))


def _read_table(file: Path) -> Rows:
    names, lines = read_csv(file, ("image", "latitude", "longitude"), ", ".join(COLUMNS))
    if not lines:
        raise InputError(f"{file}: no row: expected one for each image")
    columns: dict[str, Any] = {
        name: [_cell(line[name], name, file, number) for number, line in lines]
        for name in COLUMNS
        if name in names
    }
    for image in columns["image"]:
        check_below(image, file)
    return make_rows(str(file), **columns)


def _cell(text: str, name: str, file: Path, number: int) -> object:
    kind, default = COLUMNS[name]
    try:
        if kind == "U":
            return text
        if not text:
            if default is None:
                raise ValueError("empty")
            return default
        return int(np.int64(int(text))) if kind == "i8" else float(text)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file}:{number}: {name} is '{text}': expected a number") from error


def _read_exif(folder: Path) -> Rows:
    files = images_below(folder)
    if not files:
        raise InputError(f"{folder}: no images here: expected {TABLE} or image files with EXIF geotags")
    records = [record for file in files for record in _exif_record(file, folder)]
    if not records:
        raise InputError(f"{folder}: none of its {len(files)} images has an EXIF geotag: add {TABLE}")
    if len(records) < len(files):
        logger.warning("%s: %d images without an EXIF geotag left out", folder, len(files) - len(records))
    columns: dict[str, Any] = {name: [record[name] for record in records] for name in records[0]}
    return make_rows(str(folder), **columns)


def _exif_record(file: Path, folder: Path) -> Iterator[dict[str, object]]:
    """Yield the row of one image, or nothing where it has no geotag."""
    exif = read_exif(file)
    if (position := geotag(exif)) is not None:
        image = file.relative_to(folder).as_posix()
        yield {"image": image, **position, "stamp": taken(exif), "session": folder_of(image)}
