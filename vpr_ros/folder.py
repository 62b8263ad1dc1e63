"""A folder of images, geotagged by images.csv or by their EXIF, as a table."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from vpr_ros.errors import InputError
from vpr_ros.geotagged import COLUMNS, GeotaggedImages, Image, Rows, make_rows
from vpr_ros.pixels import rgb_from_file

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
TABLE = "images.csv"
# tags of the EXIF standard by number: their names came to Pillow after Ubuntu 22.04
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE, ALTITUDE_REF, ALTITUDE, DIRECTION = 1, 2, 3, 4, 5, 6, 17
CHANGED, TAKEN, TAKEN_FRACTION = 0x0132, 0x9003, 0x9291


def read_folder(folder: Path) -> GeotaggedImages:
    """Read a folder's images.csv or, without one, the EXIF geotags of the images below it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: expected images with {TABLE} or with EXIF geotags")
    table = folder / TABLE
    rows = _read_table(table) if table.is_file() else _read_exif(folder)
    return GeotaggedImages(rows, lambda row: read_image(folder / str(rows["image"][row])))


def read_image(file: Path) -> Image:
    """Return an image file as (H, W, 3) RGB, upright by its EXIF orientation."""
    if not file.is_file():
        raise InputError(f"{file}: no such image")
    try:
        return rgb_from_file(file.read_bytes())
    except InputError as error:
        raise InputError(f"{file}: {error}: remove it or copy it again") from error


def _read_table(file: Path) -> Rows:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            names = list(reader.fieldnames or [])
            lines = [(reader.line_num, line) for line in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a csv table in UTF-8 ({error})") from error
    if missing := [name for name in ("image", "latitude", "longitude") if name not in names]:
        raise InputError(f"{file}: no column '{missing[0]}': expected {', '.join(COLUMNS)}")
    if not lines:
        raise InputError(f"{file}: no row: expected one for each image")
    columns: dict[str, Any] = {
        name: [_cell(line, name, file, number) for number, line in lines] for name in names
    }
    for image in columns["image"]:
        if Path(str(image)).is_absolute() or ".." in Path(str(image)).parts:
            raise InputError(f"{file}: image '{image}' lies outside the folder: expected a path below it")
    return make_rows(str(file), **{name: columns[name] for name in COLUMNS if name in columns})


def _cell(line: dict[str, str], name: str, file: Path, number: int) -> object:
    kind, default = COLUMNS.get(name, ("U", ""))
    text = (line[name] or "").strip()
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
    files = sorted(file for file in folder.rglob("*") if _is_image(file))
    if not files:
        raise InputError(f"{folder}: no images here: expected {TABLE} or image files with EXIF geotags")
    records = [record for file in files for record in _exif_record(file, folder)]
    if not records:
        raise InputError(f"{folder}: none of its {len(files)} images has an EXIF geotag: add {TABLE}")
    if len(records) < len(files):
        logger.warning("%s: %d images without an EXIF geotag left out", folder, len(files) - len(records))
    columns: dict[str, Any] = {name: [record[name] for record in records] for name in records[0]}
    return make_rows(str(folder), **columns)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def _exif_record(file: Path, folder: Path) -> Iterator[dict[str, object]]:
    """Yield the row of one image, or nothing where it has no geotag."""
    try:
        with PillowImage.open(file) as opened:
            exif = opened.getexif()
            for part in (GPS_IFD, EXIF_IFD):
                exif.get_ifd(part)  # read now: a TIFF must be open for it
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        raise InputError(f"{file}: does not decode as an image: remove it or copy it again") from error
    gps = exif.get_ifd(GPS_IFD)
    latitude = _degrees(gps.get(LATITUDE), gps.get(LATITUDE_REF) == "S")
    longitude = _degrees(gps.get(LONGITUDE), gps.get(LONGITUDE_REF) == "W")
    if math.isnan(latitude) or math.isnan(longitude):
        return
    below_sea = gps.get(ALTITUDE_REF) in (1, b"\x01")
    altitude = _number(gps.get(ALTITUDE))
    yield {
        "image": file.relative_to(folder).as_posix(),
        "latitude": latitude,
        "longitude": longitude,
        "altitude": -altitude if below_sea else altitude,
        "heading": _number(gps.get(DIRECTION)),
        "stamp": _stamp(exif),
        "session": "/".join(file.relative_to(folder).parts[:-1]),
    }


def _degrees(parts: object, negative: bool) -> float:
    if not isinstance(parts, tuple) or len(parts) != 3:
        return math.nan
    degrees: float = sum(_number(part) / 60**power for power, part in enumerate(parts))
    return -degrees if negative else degrees


def _number(value: object) -> float:
    """Return an EXIF rational as a float; 0/0 and anything else that is none is unknown."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _stamp(exif: PillowImage.Exif) -> int:
    """Return nanoseconds of the time taken; the camera's clock is read as UTC, 0 where it is unknown."""
    details = exif.get_ifd(EXIF_IFD)
    text = str(details.get(TAKEN, exif.get(CHANGED, "")))
    fraction = str(details.get(TAKEN_FRACTION, "")).strip()
    nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction.isascii() and fraction.isdigit() else 0
    try:
        taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    if not 1970 <= taken.year < 2262:  # outside what 64 bits of nanoseconds hold
        return 0
    return int(taken.timestamp()) * 10**9 + nanoseconds
