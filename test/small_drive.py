"""Drives through the small world, as bags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from test.small_world import STEP, picture
from vpr_ros.drives.bag_writer import DriveWriter
from vpr_ros.images.pixels import compress

#: Nanoseconds of the first image, and between two: a drive at 36 km/h.
START, PERIOD = 10**18, 10**10
TORN = b"\xff\xd8\xff no picture"


def write_drive(
    folder: Path,
    places: int = 12,
    period: int = PERIOD,
    instead: Mapping[int, bytes] | None = None,
    fixes: range | None = None,
) -> Path:
    """Write a bag that stands at each place of the small world in turn.

    Args:
        folder: of the bag.
        places: how many.
        period: nanoseconds from one to the next.
        instead: bytes that are recorded in place of the picture of a place.
        fixes: places with a fix; all where none is given.
    """
    with DriveWriter(folder) as writer:
        for place in range(places):
            stamp = START + place * period
            if fixes is None or place in fixes:
                writer.fix("/gps/fix", stamp, position(place), 1.0)
            writer.image(stamp, (instead or {}).get(place, compress(picture(place), ".png")), "png")
    return folder


def position(place: int) -> tuple[float, float, float]:
    """Return latitude, longitude, altitude of a place."""
    return 48.0 + STEP * place, 11.0, 500.0
