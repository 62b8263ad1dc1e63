"""The places of a map: the numbers of all of them at hand, the names of their images and drives apart."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from vpr_ros.errors import InputError
from vpr_ros.files.array_file import ArrayWriter, read_array
from vpr_ros.geotagged import COLUMNS, Rows
from vpr_ros.maps.manifest import PLACES
from vpr_ros.maps.names import NameWriter

#: What is known of a place but for names: latitude, longitude, altitude, heading, stamp.
NUMBERS = np.dtype([(name, f"<{kind}") for name, (kind, _) in COLUMNS.items() if kind != "U"])


class PlaceWriter:
    """Writes the places of a map as they come.

    Args:
        folder: of the map.
        count: places that will come.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._numbers = ArrayWriter(folder / PLACES, (count,), NUMBERS)
        self._names = NameWriter(folder)

    def append(self, rows: Rows) -> None:
        """Write (n,) rows of the geotagged-images table."""
        self._numbers.append(numbers_of(rows))
        self._names.append(rows)

    def close(self) -> None:
        """Write what is still in memory."""
        with closing(self._names):
            self._numbers.close()


def numbers_of(rows: Rows) -> Rows:
    """Return (n,) rows without their names."""
    return rows[list(NUMBERS.names or ())].astype(NUMBERS)


def read_places(folder: Path, names: bool, mapped: bool) -> Rows:
    """Return the places of a map, in memory or memory-mapped; raises InputError for anything else.

    Args:
        folder: of the map.
        names: whether they are in the same file, as in format 1.
        mapped: whether it is memory-mapped.
    """
    file = folder / PLACES
    places = read_array(file, mapped)
    expected = [(name, kind) for name, (kind, _) in COLUMNS.items() if names or kind != "U"]
    kinds = [(name, places.dtype[name]) for name in places.dtype.names or ()]
    found = [(name, "U" if kind.kind == "U" else kind.str[1:]) for name, kind in kinds]
    if found != expected or places.ndim != 1:
        raise InputError(f"{file}: columns {found}, expected {expected}: build the map again")
    return places
