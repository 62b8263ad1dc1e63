"""Which image and which drive each place of a map is of: compressed, and read where they are asked for."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError, first_line
from vpr_ros.files.array_file import read_array
from vpr_ros.files.held_file import HeldFile
from vpr_ros.geotagged import Rows
from vpr_ros.maps.manifest import NAME_TABLE, NAMES

#: Places whose names are compressed together; characters of a name, as many as a path may have.
BLOCK, LONGEST = 1024, 4096
#: Bytes of JSON: more than a block of such names takes.
MOST = 1 << 27
COLUMNS = ("image", "session")
#: Where each block begins in the file, and how long it is.
TABLE = np.dtype([("offset", "<i8"), ("length", "<i4")])


class NameWriter:
    """Writes the names of places in their order: JSON, a block after the other.

    Args:
        folder: of the map.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME_TABLE
        self._opened = (folder / NAMES).open("wb")
        self._waiting: dict[str, list[str]] = {column: [] for column in COLUMNS}
        self._table: list[tuple[int, int]] = []

    def append(self, rows: Rows) -> None:
        """Add the names of (n,) rows."""
        for column in COLUMNS:
            self._waiting[column] += rows[column].tolist()
        while len(self._waiting["image"]) >= BLOCK:
            self._write()

    def close(self) -> None:
        """Write the rest, and the table."""
        with self._opened:
            if self._waiting["image"]:
                self._write()
        np.save(self._file, np.array(self._table, TABLE), allow_pickle=False)

    def _write(self) -> None:
        names = {column: waiting[:BLOCK] for column, waiting in self._waiting.items()}
        self._waiting = {column: waiting[BLOCK:] for column, waiting in self._waiting.items()}
        longest = max((name for column in COLUMNS for name in names[column]), key=len)
        if len(longest) > LONGEST:
            raise InputError(
                f"image or session '{longest[:40]}...' has a name of {len(longest)} characters: "
                f"expected at most {LONGEST}: give it a shorter one"
            )
        block = zlib.compress(json.dumps(names).encode("ascii"))
        self._table.append((self._opened.tell(), len(block)))
        self._opened.write(block)


class Names:
    """The names of the places of an open map.

    Args:
        folder: of the map.
        count: places.

    Raises:
        InputError: the table is damaged.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._file, self._count = HeldFile(folder / NAMES), count
        file = folder / NAME_TABLE
        self._table = read_array(file)
        if self._table.dtype != TABLE or self._table.shape != (-(-count // BLOCK),):
            raise InputError(
                f"{file}: {self._table.dtype} of shape {self._table.shape}, expected {TABLE}: "
                "copy the map again, or build it again"
            )

    def of(self, places: NDArray[np.int64]) -> dict[str, NDArray[np.str_]]:
        """Return the (M,) images and sessions of M places; InputError where the file is damaged."""
        order = np.argsort(places, kind="stable")
        numbers, within = np.divmod(places[order], BLOCK)
        parts = np.split(within, np.flatnonzero(np.diff(numbers)) + 1)
        blocks = [self._read(number) for number in np.unique(numbers).tolist()]
        found = {}
        for column in COLUMNS:
            names = [np.array(block[column])[part] for block, part in zip(blocks, parts, strict=False)]
            found[column] = np.concatenate(names or [np.empty(0, "U1")])[np.argsort(order)]
        return found

    def _read(self, number: int) -> dict[str, list[str]]:
        """Return the names of a block by column."""
        offset, length = self._table[number].tolist()
        count = min(BLOCK, self._count - number * BLOCK)
        try:
            # not all that it may say: a few bytes can stand for more than there is memory
            text = zlib.decompressobj().decompress(self._file.read(offset, length), MOST)
            read = json.loads(text)
            names: dict[str, list[str]] = {column: read[column] for column in COLUMNS}
            for each in names.values():
                texts = isinstance(each, list) and {*map(type, each)} == {str}
                if not texts or len(each) != count or max(map(len, each)) > LONGEST:
                    raise ValueError(f"expected {count} names")
        except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self._file.name}: damaged ({first_line(error)}): copy the map again, or build it again"
            ) from error
        return names
