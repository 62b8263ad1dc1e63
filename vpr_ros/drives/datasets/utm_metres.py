"""UTM metres to WGS84 degrees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import utm
from numpy.typing import ArrayLike, NDArray

from vpr_ros.errors import InputError

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
#: Metres between which UTM is used; beyond them a number is no easting, or no northing.
_EAST, _NORTH = (1e5, 9e5), (0.0, 1e7)
#: Degrees of latitude that a place may lie outside the band: a city at its edge is given one band.
_BEYOND = 1.0


@dataclass(frozen=True)
class Zone:
    """A zone of UTM: its number, and the letter of its band of latitude: no N or S of a hemisphere."""

    number: int
    band: str

    def __str__(self) -> str:
        return f"{self.number}{self.band}"

    @property
    def latitudes(self) -> tuple[float, float]:
        """Degrees of latitude from which to which the band reaches."""
        south = -80.0 + 8.0 * _BANDS.index(self.band)
        return south, 84.0 if self.band == "X" else south + 8.0


def parse_zone(text: str) -> Zone:
    """Return the zone of a text such as 32U, or raise InputError."""
    found = re.fullmatch(rf"0?(\d{{1,2}})([{_BANDS}])", text.strip().upper())
    if found is None or not 1 <= int(found[1]) <= 60:
        raise InputError(f"UTM zone '{text}': expected number and band, such as 32U")
    return Zone(int(found[1]), found[2])


def to_degrees(
    east: ArrayLike, north: ArrayLike, zone: Zone, source: str, images: Sequence[str]
) -> NDArray[np.float64]:
    """Return (N, 2) latitude, longitude in degrees of (N,) metres.

    Args:
        east: metres.
        north: metres.
        zone: of all of them.
        source: the file or folder that errors name.
        images: what the positions are of, for the errors, too.

    Raises:
        InputError: metres that are none of UTM, or none of that zone.
    """
    east, north = np.asarray(east, np.float64), np.asarray(north, np.float64)
    for name, values, (low, high) in (("easting", east, _EAST), ("northing", north, _NORTH)):
        _refuse(~((values >= low) & (values <= high)), name, values, f"{low:g} to {high:g} m", source, images)
    latitude, longitude = utm.to_latlon(east, north, zone.number, zone.band, strict=False)
    south, to = zone.latitudes
    outside = (latitude < south - _BEYOND) | (latitude > to + _BEYOND)
    in_band = f"one of zone {zone}, latitude {south:g} to {to:g}: is the zone right?"
    _refuse(outside, "northing", north, in_band, source, images)
    return np.stack([latitude, longitude], axis=-1)


def _refuse(
    wrong: NDArray[np.bool_],
    name: str,
    values: NDArray[np.float64],
    expected: str,
    source: str,
    images: Sequence[str],
) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{source}: {name} {values[row]:.2f} of {images[row]}: expected {expected}")
