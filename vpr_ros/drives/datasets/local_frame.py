"""A metric frame that drives are recorded in, and where on the earth it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_geodetic

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LocalFrame:
    """Metres about a datum: x along the heading, y to its left, z up.

    Attributes:
        datum: of the origin.
        heading: of the x axis, degrees clockwise from north; 90 is REP-103's x east, y north.
    """

    datum: Datum
    heading: float = 90.0

    def positions(self, points: ArrayLike) -> Array:
        """Return (N, 3) latitude, longitude (degrees), altitude (m) of (N, 3) metres."""
        x, y, z = np.asarray(points, np.float64).T
        sine, cosine = np.sin(np.radians(self.heading)), np.cos(np.radians(self.heading))
        return to_geodetic(np.stack([sine * x - cosine * y, cosine * x + sine * y, z], axis=-1), self.datum)

    def headings(self, yaw: ArrayLike) -> Array:
        """Return degrees clockwise from north, [0, 360), of radians counter-clockwise from the x axis."""
        headings: Array = (self.heading - np.degrees(np.asarray(yaw, np.float64))) % 360.0
        return headings


def parse_datum(text: str) -> Datum:
    """Return the datum that LATITUDE/LONGITUDE or LATITUDE/LONGITUDE/ALTITUDE says, or raise InputError."""
    try:
        latitude, longitude, *altitude = (float(part) for part in text.split("/"))
        datum = Datum(latitude, longitude, *altitude)
    except (ValueError, TypeError) as error:
        raise InputError(f"datum '{text}': expected LATITUDE/LONGITUDE, such as 49.011/8.423") from error
    if not (abs(latitude) <= 90 and abs(longitude) <= 180 and abs(datum.altitude) <= 1e5):
        raise InputError(f"datum '{text}': expected degrees of latitude, then of longitude, then metres")
    return datum
