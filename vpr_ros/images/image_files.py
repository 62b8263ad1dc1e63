"""Image files below a folder: which there are, and a table of them with a way to read their pixels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, Image, Rows, Undecoded
from vpr_ros.images.pixels import rgb_from_file

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def image_table(folder: Path, rows: Rows) -> GeotaggedImages:
    """Return the table of these rows, whose `image` is a path below the folder.

    Images are upright by their EXIF orientation; one that is not there raises InputError when it is read.
    """

    def fetch(row: int) -> Undecoded:
        return open_image(folder / str(rows["image"][row]))

    return GeotaggedImages(rows, lambda row: fetch(row).rgb(), fetch)


def images_below(folder: Path) -> list[Path]:
    """Return the image files in a folder and in those below it, in order."""
    return sorted(file for file in folder.rglob("*") if _is_image(file))


def check_below(image: str, table: Path) -> None:
    """Raise InputError for a path of a table that leads out of the table's folder."""
    if Path(image).is_absolute() or ".." in Path(image).parts:
        raise InputError(f"{table}: image '{image}' lies outside the folder: expected a path below it")


def folder_of(image: str) -> str:
    """Return the folder of an image's path, by which drives are told apart; nothing for the table's own."""
    parent = Path(image).parent.as_posix()
    return "" if parent == "." else parent


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def open_image(file: Path) -> Undecoded:
    """Return an image file, not decoded yet; raises InputError where there is none."""
    if not file.is_file():
        raise InputError(f"{file}: no such image")
    data = file.read_bytes()
    return Undecoded(partial(_decode, data, file), data)


def _decode(data: bytes, file: Path) -> Image:
    try:
        return rgb_from_file(data)
    except InputError as error:
        raise InputError(f"{file}: {error}: remove it or copy it again") from error
