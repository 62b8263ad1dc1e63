"""The table of geotagged images, which every reader yields, and neighbours within a radius."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_ecef

#: The columns and what they hold where nothing is known. Strings are as wide as their longest.
COLUMNS: dict[str, tuple[str, object]] = {
    "image": ("U", ""),  # path, or file and topic and time of a bag
    "latitude": ("f8", None),  # WGS84 degrees
    "longitude": ("f8", None),
    "altitude": ("f8", np.nan),  # metres above the ellipsoid
    "heading": ("f8", np.nan),  # degrees clockwise from north
    "stamp": ("i8", 0),  # nanoseconds
    "session": ("U", ""),
}

Rows = NDArray[np.void]
Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Undecoded:
    """One image as it was stored.

    Attributes:
        rgb: returns its (H, W, 3) RGB; raises InputError where it does not decode.
        data: bytes of its image file (JPEG, PNG ...); None where it has none.
    """

    rgb: Callable[[], Image]
    data: bytes | NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class GeotaggedImages:
    """Geotagged images: a row each, and a way to read their pixels.

    Attributes:
        rows: (N,) structured array with the fields of COLUMNS.
        read: row number to (H, W, 3) RGB; raises InputError for an image that does not decode.
        fetch: row number to the image as it was stored, for who decodes it otherwise; raises InputError for
            one that is not there. Not given where there are only pixels.
    """

    rows: Rows
    read: Callable[[int], Image]
    fetch: Callable[[int], Undecoded] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def undecoded(self, row: int) -> Undecoded:
        """Return one image, to be decoded by whoever can."""
        return self.fetch(row) if self.fetch is not None else Undecoded(partial(self.read, row))

    def select(self, which: ArrayLike) -> GeotaggedImages:
        """Return the rows of a boolean mask or of row numbers."""
        numbers = np.arange(len(self))[np.asarray(which)]
        return GeotaggedImages(
            self.rows[numbers],
            lambda row: self.read(int(numbers[row])),
            lambda row: self.undecoded(int(numbers[row])),
        )


def make_rows(source: str, **columns: ArrayLike) -> Rows:
    """Return checked rows of these columns; the others are unknown.

    Args:
        source: the file or folder that errors name.
        columns: of COLUMNS; latitude and longitude at least.

    Raises:
        InputError: a latitude, longitude, altitude or heading outside its range; it names the row.
    """
    count = len(np.asarray(columns["latitude"]))
    arrays = {
        name: np.asarray(columns[name], kind if kind != "U" else str)
        if name in columns
        else np.full(count, default, kind if kind != "U" else "U1")
        for name, (kind, default) in COLUMNS.items()
    }
    rows = np.empty(count, [(name, array.dtype) for name, array in arrays.items()])
    for name, array in arrays.items():
        rows[name] = array
    _check(rows, source)
    rows["heading"] %= 360.0
    rows["heading"][rows["heading"] == 360.0] = 0.0  # of a heading a hair below 0
    return rows


def _check(rows: Rows, source: str) -> None:
    for name, bound, optional in (
        ("latitude", 90.0, False),
        ("longitude", 180.0, False),
        ("altitude", 1e5, True),
        ("heading", 360.0, True),
    ):
        values = rows[name]
        wrong = ~(np.abs(values) <= bound)
        if optional:
            wrong &= ~np.isnan(values)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"{source}: {name} {values[row]:g} of {rows['image'][row] or f'row {row}'}: "
                f"expected {-bound:g} to {bound:g}{' or nothing' if optional else ''}{_guess(rows[row])}"
            )


def _guess(row: np.void) -> str:
    """Return what a row with a number out of range may suffer from; nothing where there is no telling."""
    latitude, longitude = abs(row["latitude"]), abs(row["longitude"])
    if 90 < latitude <= 180 and longitude <= 90:
        return ": are latitude and longitude swapped?"
    return ": is it in metres?" if np.isfinite(latitude) and latitude > 180 else ""


def join(parts: Sequence[GeotaggedImages]) -> GeotaggedImages:
    """Return one table of several, in order."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part) for part in parts)])

    def find(row: int) -> tuple[GeotaggedImages, int]:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return parts[part], row - int(starts[part])

    def read(row: int) -> Image:
        part, number = find(row)
        return part.read(number)

    def fetch(row: int) -> Undecoded:
        part, number = find(row)
        return part.undecoded(number)

    return GeotaggedImages(join_rows([part.rows for part in parts]), read, fetch)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return one array of several, in order; strings as wide as their longest."""
    widest = [
        (name, max((part.dtype[name] for part in parts), key=lambda kind: kind.itemsize)) for name in COLUMNS
    ]
    return np.concatenate([part.astype(widest) for part in parts])


def only_session(images: GeotaggedImages, session: str) -> GeotaggedImages:
    """Return the rows of one session, or raise InputError with the names of the sessions there are."""
    chosen = images.rows["session"] == session
    if not chosen.any():
        names = ", ".join(sorted(set(images.rows["session"].tolist())))
        raise InputError(f"no image of session '{session}': the sessions here are {names}")
    return images.select(chosen)


def within_radius(queries: Rows, database: Rows, radius: float) -> list[NDArray[np.intp]]:
    """Return, for each query, the numbers of the database rows within `radius` metres on the ground."""
    tree = cKDTree(to_ecef(database["latitude"], database["longitude"]))
    found = tree.query_ball_point(
        to_ecef(queries["latitude"], queries["longitude"]), radius, return_sorted=True
    )
    return [np.asarray(rows, np.intp) for rows in found]


def ground_distance(first: Rows, second: Rows) -> NDArray[np.float64]:
    """Return the metres on the ground between rows of equal (or broadcast) shape."""
    difference = to_ecef(first["latitude"], first["longitude"]) - to_ecef(
        second["latitude"], second["longitude"]
    )
    distance: NDArray[np.float64] = np.linalg.norm(difference, axis=-1)
    return distance
