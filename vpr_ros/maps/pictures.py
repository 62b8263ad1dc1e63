"""The small pictures of a map's places: JPEGs one after the other in one file, found by a table."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np

from vpr_ros.errors import InputError
from vpr_ros.files.array_file import read_array
from vpr_ros.files.checksum import sum_of
from vpr_ros.files.held_file import HeldFile
from vpr_ros.maps.manifest import PICTURE_TABLE, PICTURES, Manifest, is_large

#: Of a place without a picture the length is 0.
TABLE = np.dtype([("offset", "<i8"), ("length", "<i4"), ("crc32", "<u4")])


class PictureWriter:
    """Writes pictures in the order of the places; nothing where no place has one.

    Args:
        folder: of the map.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: BinaryIO | None = None
        self._end = 0
        self._table: list[tuple[int, int, int]] = []

    def append(self, picture: bytes | None) -> None:
        """Add the JPEG of the next place."""
        picture = picture or b""
        if picture and self._opened is None:
            self._opened = (self._folder / PICTURES).open("wb")
        if self._opened is not None:
            self._opened.write(picture)
        self._table.append((self._end, len(picture), crc32(picture)))
        self._end += len(picture)

    def close(self) -> None:
        """Write the table."""
        if self._opened is not None:
            self._opened.close()
            np.save(self._folder / PICTURE_TABLE, np.array(self._table, TABLE), allow_pickle=False)


class Pictures:
    """The pictures of an open map.

    Args:
        folder: of the map.

    Raises:
        InputError: the table is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._file = HeldFile(folder / PICTURES)
        file = folder / PICTURE_TABLE
        self._table = read_array(file, mapped=is_large(file))
        if self._table.dtype != TABLE or self._table.ndim != 1:
            raise InputError(
                f"{file}: {self._table.dtype}, expected {TABLE}: copy the map again, or build it again"
            )

    def read(self, place: int) -> bytes | None:
        """Return the JPEG of a place; None where it has none, or it is damaged."""
        if not 0 <= place < len(self._table):
            return None
        offset, length, crc = self._table[place].tolist()
        picture = self._file.read(offset, length)
        return picture if picture and crc32(picture) == crc else None


class LoosePictures:
    """The pictures of a map of format 1: a file each.

    Args:
        folder: of the map.
        manifest: with their sums.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._files = folder, manifest.files

    def read(self, place: int) -> bytes | None:
        """Return the JPEG of a place; None where it has none, or it is damaged."""
        name = f"images/{place:06d}.jpg"
        file = self._folder / name
        if name not in self._files or not file.is_file() or sum_of(file) != self._files[name].sha256:
            return None
        return file.read_bytes()
