"""Images that carry their position in their names, in UTM: @east@north@zone@letter@latitude@longitude@..."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from vpr_ros.drives.datasets.utm_metres import Zone, parse_zone, to_degrees
from vpr_ros.drives.datasets.written_time import stamp_of
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, ground_distance, make_rows
from vpr_ros.images.image_files import folder_of, image_table, images_below

logger = logging.getLogger(__name__)

#: What stands between the @; all but the first two may be empty or not there.
FIELDS = (
    *("east", "north", "zone", "letter", "latitude", "longitude", "pano", "tile"),
    *("heading", "pitch", "roll", "height", "timestamp", "note"),
)
#: Metres that a name's degrees may lie from its own UTM: they are written with few decimals.
_APART = 100.0


def has_utm_names(folder: Path) -> bool:
    """Tell whether the images of a folder have such names, by the first that is found."""
    return next(folder.rglob("@*@*@*"), None) is not None


def read_utm_names(folder: Path, zone: Zone | None = None) -> GeotaggedImages:
    """Read a folder of images with UTM in their names; the folders below it are sessions.

    Args:
        folder: of the images, or of folders of them.
        zone: of UTM, where the names do not hold it, or instead of theirs.
    """
    files = images_below(folder)
    named = [(file, dict(zip(FIELDS, file.name.split("@")[1:-1]))) for file in files]
    named = [(file, fields) for file, fields in named if "north" in fields]
    if not named:
        raise InputError(f"{folder}: none of its {len(files)} images is named @east@north@...@.jpg")
    if len(named) < len(files):
        logger.warning("%s: %d images without UTM in their names left out", folder, len(files) - len(named))
    names = [file.relative_to(folder).as_posix() for file, _ in named]
    east, north, latitude, longitude, heading = (
        np.array([_number(fields, field, file) for file, fields in named])
        for field in ("east", "north", "latitude", "longitude", "heading")
    )
    zones = [zone or _zone(fields, file) for file, fields in named]
    degrees = np.stack([latitude, longitude], axis=1)
    written = ~np.isnan(degrees).any(axis=1)
    for each in {each for each in zones if each is not None}:
        rows = [row for row, of in enumerate(zones) if of == each]
        images = [names[row] for row in rows]
        degrees[rows] = to_degrees(east[rows], north[rows], each, str(folder), images)
    if np.isnan(degrees).any():
        nowhere = names[int(np.flatnonzero(np.isnan(degrees).any(axis=1))[0])]
        raise InputError(
            f"{folder}: {nowhere}: no UTM zone in its name: give it, as in utm,zone=32U:{folder}"
        )
    table = make_rows(
        str(folder),
        image=names,
        latitude=degrees[:, 0],
        longitude=degrees[:, 1],
        heading=heading,
        stamp=[stamp_of(fields.get("timestamp", "")) for _, fields in named],
        session=[folder_of(name) for name in names],
    )
    said = table[written].copy()
    said["latitude"], said["longitude"] = latitude[written], longitude[written]
    apart = ground_distance(table[written], said)
    if (apart > _APART).any():
        row = int(np.argmax(apart))
        raise InputError(
            f"{folder}: {said['image'][row]}: its UTM lies {apart[row] / 1000:.1f} km from its own "
            "latitude and longitude: is the zone right?"
        )
    return image_table(folder, table)


def _zone(fields: dict[str, str], file: Path) -> Zone | None:
    text = fields.get("zone", "") + fields.get("letter", "")
    if not text:
        return None
    try:
        return parse_zone(text)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _number(fields: dict[str, str], name: str, file: Path) -> float:
    text = fields.get(name, "")
    if not text and name not in ("east", "north"):
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{file}: {name} is '{text}': expected a number") from error
