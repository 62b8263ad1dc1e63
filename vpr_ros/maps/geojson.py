"""A map as GeoJSON (RFC 7946), for QGIS or any other viewer: a point a place, a line a drive."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.drives.sessions import Session, iso, sessions_of
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import Rows

#: Of a degree: 1 cm.
DECIMALS = 7
Position = list[float]


def write_geojson(file: Path, rows: Rows, pictures: dict[int, str]) -> None:
    """Write the places of a map, whole or not at all, feature by feature.

    Args:
        file: of the FeatureCollection.
        rows: of the places.
        pictures: their files by place, as the viewer will find them.
    """
    encode = json.JSONEncoder(allow_nan=False).encode
    with replacing_file(file) as partial, partial.open("w", encoding="ascii") as opened:
        opened.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(_features(rows, pictures)):
            opened.write((",\n" if number else "\n") + encode(feature))
        opened.write("\n]}\n")


def _features(rows: Rows, pictures: dict[int, str]) -> Iterator[dict[str, Any]]:
    for session in sessions_of(rows):
        if lines := _lines(session, rows):
            one = len(lines) == 1
            yield _feature(
                "LineString" if one else "MultiLineString",
                lines[0] if one else lines,
                session=session.name,
                first=iso(session.first),
                last=iso(session.last),
                km=round(session.metres / 1e3, 3),
            )
    for place, row in enumerate(rows):
        _, latitude, longitude, altitude, heading, stamp, session_name = row.item()
        yield _feature(
            "Point",
            _position(longitude, latitude),
            place=place,
            session=session_name,
            stamp=iso(stamp),
            heading=_known(heading, 1),
            altitude=_known(altitude, 2),
            **({"picture": pictures[place]} if place in pictures else {}),
        )


def _feature(kind: str, coordinates: list[Any], **properties: object) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _lines(session: Session, rows: Rows) -> list[list[Position]]:
    lines = []
    for stretch in session.stretches:
        lines += _cut_at_antimeridian(rows["longitude"][stretch], rows["latitude"][stretch])
    return [line for line in lines if len(line) > 1]


def _cut_at_antimeridian(
    longitudes: NDArray[np.float64], latitudes: NDArray[np.float64]
) -> list[list[Position]]:
    """Return the lines that a line becomes where it crosses the antimeridian."""
    lines: list[list[Position]] = [[]]
    previous = None
    for here in zip(longitudes.tolist(), latitudes.tolist(), strict=True):
        if previous is not None and abs(here[0] - previous[0]) > 180.0:
            side = math.copysign(180.0, previous[0])
            step = here[0] + 2 * side - previous[0]
            share = (side - previous[0]) / step if step else 0.0
            crossing = previous[1] + share * (here[1] - previous[1])
            lines[-1].append(_position(side, crossing))
            lines.append([_position(-side, crossing)])
        lines[-1].append(_position(*here))
        previous = here
    return lines


def _position(longitude: float, latitude: float) -> Position:
    return [round(longitude, DECIMALS), round(latitude, DECIMALS)]


def _known(value: float, decimals: int) -> float | None:
    return None if math.isnan(value) else round(value, decimals)
