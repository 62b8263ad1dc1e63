"""WGS84 to and from metres about a datum; headings and yaw.

Metric frames are east-north-up (ENU, REP-103) about a datum. A heading is in degrees clockwise from north,
a yaw in radians counter-clockwise from east.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pymap3d
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Datum:
    """Origin of a local east-north-up frame: WGS84 degrees, metres above the ellipsoid."""

    latitude: float
    longitude: float
    altitude: float = 0.0


def to_enu(latitude: ArrayLike, longitude: ArrayLike, altitude: ArrayLike, datum: Datum) -> Array:
    """Return (..., 3) metres east, north, up of the datum; an unknown (NaN) altitude is the datum's."""
    altitude = np.asarray(altitude, np.float64)
    altitude = np.where(np.isnan(altitude), datum.altitude, altitude)
    enu = pymap3d.geodetic2enu(
        np.asarray(latitude, np.float64),
        np.asarray(longitude, np.float64),
        altitude,
        datum.latitude,
        datum.longitude,
        datum.altitude,
    )
    return np.stack([np.asarray(axis, np.float64) for axis in enu], axis=-1)


def to_geodetic(enu: ArrayLike, datum: Datum) -> Array:
    """Return (..., 3) latitude, longitude (degrees), altitude (m) of (..., 3) metres east, north, up."""
    east, north, up = np.moveaxis(np.asarray(enu, np.float64), -1, 0)
    geodetic = pymap3d.enu2geodetic(east, north, up, datum.latitude, datum.longitude, datum.altitude)
    return np.stack([np.asarray(axis, np.float64) for axis in geodetic], axis=-1)


def mean_geodetic(shares: ArrayLike, latitude: ArrayLike, longitude: ArrayLike, altitude: ArrayLike) -> Array:
    """Return the (G, 3) mean latitude, longitude (degrees), altitude (m) of G groups of N positions.

    Within 1 mm of the mean of their metres, for groups 50 m wide up to 80 degrees of latitude, in a tenth of
    the time that converting that takes. Not for the poles themselves.

    Args:
        shares: (G, N) of each position in each group; those of a group sum to one.
        latitude: (N,) degrees.
        longitude: (N,) degrees; a group may lie across the antimeridian.
        altitude: (N,) metres.
    """
    longitude = np.asarray(longitude, np.float64)
    first = longitude[:1]
    apart = wrap_degrees(longitude - first)
    mean = np.asarray(shares) @ np.stack([latitude, apart, altitude], axis=-1)
    mean[:, 1] = wrap_degrees(mean[:, 1] + first)
    return np.asarray(mean, np.float64)


def to_ecef(latitude: ArrayLike, longitude: ArrayLike, altitude: ArrayLike = 0.0) -> Array:
    """Return (..., 3) earth-centred metres.

    On the ellipsoid's surface (altitude 0) chords stand for ground distance everywhere, poles and the
    antimeridian included: 1 mm short at 10 km.
    """
    ecef = pymap3d.geodetic2ecef(
        np.asarray(latitude, np.float64), np.asarray(longitude, np.float64), np.asarray(altitude, np.float64)
    )
    return np.stack([np.asarray(axis, np.float64) for axis in np.broadcast_arrays(*ecef)], axis=-1)


def from_ecef(ecef: ArrayLike) -> Array:
    """Return (..., 3) latitude, longitude (degrees), altitude (m) of (..., 3) earth-centred metres."""
    geodetic = pymap3d.ecef2geodetic(*np.moveaxis(np.asarray(ecef, np.float64), -1, 0))
    return np.stack([np.asarray(axis, np.float64) for axis in geodetic], axis=-1)


def heading_to_yaw(heading: ArrayLike) -> Array:
    """Return radians counter-clockwise from east, in [-pi, pi), of degrees clockwise from north."""
    return wrap(np.pi / 2 - np.radians(np.asarray(heading, np.float64)))


def yaw_to_heading(yaw: ArrayLike) -> Array:
    """Return degrees clockwise from north, in [0, 360), of radians counter-clockwise from east."""
    heading: Array = np.mod(90.0 - np.degrees(np.asarray(yaw, np.float64)), 360.0)
    return np.where(heading == 360.0, 0.0, heading)


def wrap(angle: ArrayLike) -> Array:
    """Return the angle, in radians, in [-pi, pi)."""
    wrapped: Array = np.mod(np.asarray(angle, np.float64) + np.pi, 2 * np.pi) - np.pi
    return np.where(wrapped >= np.pi, -np.pi, wrapped)  # rounding may reach the open end


def wrap_degrees(angle: Array) -> Array:
    """Return the angle, in degrees, from -180 to 180; NaN stays."""
    return np.asarray(np.mod(angle + 180.0, 360.0) - 180.0)
