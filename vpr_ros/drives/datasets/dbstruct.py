"""Pitts30k, Pitts250k, Tokyo 24/7 and Tokyo Time Machine as NetVLAD's authors store them: a dbStruct."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.drives.datasets.mat_struct import read_struct
from vpr_ros.drives.datasets.utm_metres import Zone, to_degrees
from vpr_ros.drives.datasets.written_time import stamp_of
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, join, make_rows
from vpr_ros.images.image_files import check_below, image_table

logger = logging.getLogger(__name__)

#: Where data sets lie, by what their files are called: dbStruct itself does not say.
_ZONES = {"pitts": Zone(17, "T"), "tokyo": Zone(54, "S")}
#: The sessions, the fields of their files, UTM and time stamps, and the folders that they are looked for in.
_PARTS = (
    ("database", "dbImageFns", "utmDb", "dbTimeStamp", ("images", ".")),
    ("queries", "qImageFns", "utmQ", "qTimeStamp", ("queries", "queries_real", "query", "images", ".")),
)


def read_dbstruct(
    file: Path, images: Path | None = None, queries: Path | None = None, zone: Zone | None = None
) -> GeotaggedImages:
    """Read the images of a dbStruct, as the sessions `database` and `queries`.

    Args:
        file: the .mat file.
        images: folder of the database images; `images` or all of the folder of the file, or of the one above.
        queries: folder of the query images; likewise, and `queries`, `queries_real`, `query`.
        zone: of UTM; that of Pittsburgh or Tokyo where the file is called so.
    """
    struct = read_struct(file, "dbStruct")
    zone = zone or next((zone for name, zone in _ZONES.items() if name in file.name.lower()), None)
    if zone is None:
        raise InputError(f"{file}: no UTM zone in it: give it, as in dbstruct,zone=17T:{file}")
    parts = []
    for (session, names, metres, times, folders), folder in zip(_PARTS, (images, queries), strict=True):
        files = [str(name) for name in np.atleast_1d(_field(struct, names, file)).tolist()]
        for name in files:
            check_below(name, file)
        east, north = _utm(_field(struct, metres, file), len(files), metres, file)
        latitude, longitude = to_degrees(east, north, zone, str(file), files).T
        stamps = np.atleast_1d(struct.get(times, np.zeros(len(files))))
        if len(stamps) != len(files):
            raise InputError(f"{file}: {len(stamps)} {times} of {len(files)} images: download it again")
        folder = folder or _found(file, folders, files)  # noqa: PLW2901
        rows = make_rows(
            str(file),
            image=_as_stored(folder, files),
            latitude=latitude,
            longitude=longitude,
            stamp=[_stamp(stamp, file) for stamp in stamps.tolist()],
            session=np.full(len(files), session),
        )
        parts.append(image_table(folder, rows))
    logger.info("%s: %d database images, %d queries, zone %s", file, *map(len, parts), zone)
    return join(parts)


def _field(struct: dict[str, Any], name: str, file: Path) -> Any:
    if name not in struct:
        raise InputError(f"{file}: its dbStruct has no {name}: expected one of NetVLAD's data set files")
    return struct[name]


def _utm(metres: Any, count: int, name: str, file: Path) -> NDArray[np.float64]:
    array = np.asarray(metres)
    if array.size != 2 * count or array.dtype.kind not in "fiu" or (count > 1 and len(array) != 2):
        raise InputError(f"{file}: {name} is {array.dtype} {array.shape}: expected numbers, (2, {count})")
    return array.astype(np.float64).reshape(2, count)


def _found(struct: Path, folders: tuple[str, ...], files: list[str]) -> Path:
    """Return which of these folders, beside a file or above it, holds the first of these images."""
    places = [base / folder for base in (struct.parent, struct.parent.parent) for folder in folders]
    return next((folder for folder in places if files and _stored(folder, files[0])), places[0])


def _stored(folder: Path, name: str) -> str | None:
    names = (name, Path(name).with_suffix(".png").as_posix())
    return next((each for each in names if (folder / each).is_file()), None)


def _as_stored(folder: Path, files: list[str]) -> list[str]:
    """Return the files; Tokyo 24/7 calls .jpg what it hands out as .png."""
    first = _stored(folder, files[0]) if files else None
    if first is None or first == files[0]:
        return files
    return [Path(name).with_suffix(".png").as_posix() for name in files]


def _stamp(time: object, file: Path) -> int:
    """Return a time stamp: nanoseconds of a year and month, else any number, which tells times apart."""
    try:
        number = float(time)  # type: ignore[arg-type]  # also of a text
        stamp = stamp_of(f"{number:.0f}") if number.is_integer() else 0
        return stamp or int(np.int64(round(number * 1e6)))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{file}: time stamp '{time}': expected a number: download it again") from error
