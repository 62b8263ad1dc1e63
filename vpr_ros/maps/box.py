"""A box of latitudes and longitudes, across the antimeridian too."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.geotagged import Rows


@dataclass(frozen=True)
class Box:
    """Degrees of WGS84; a western edge east of the eastern one lies on the other side of the antimeridian."""

    south: float
    west: float
    north: float
    east: float

    def __post_init__(self) -> None:
        across = all(-180 <= edge <= 180 for edge in (self.west, self.east))
        if not (-90 <= self.south <= self.north <= 90 and across):
            raise InputError(
                f"box {self}: expected south west north east, in degrees, south not above north; across the "
                "antimeridian the western edge lies east of the eastern one"
            )

    def __str__(self) -> str:
        return " ".join(f"{edge:g}" for edge in astuple(self))

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Tell which of (N,) rows lie in it, its edges included."""
        latitude, longitude = rows["latitude"], rows["longitude"]
        above, below = longitude >= self.west, longitude <= self.east
        between = above & below if self.west <= self.east else above | below
        held: NDArray[np.bool_] = (latitude >= self.south) & (latitude <= self.north) & between
        return held


def box_around(rows: Rows) -> Box:
    """Return the smallest box that holds all of (N,) rows."""
    longitudes = np.unique(rows["longitude"])
    gaps = np.diff(longitudes, append=longitudes[0] + 360.0)
    widest = int(gaps.argmax())  # what the box leaves out
    west, east = longitudes[(widest + 1) % len(longitudes)], longitudes[widest]
    return Box(float(rows["latitude"].min()), float(west), float(rows["latitude"].max()), float(east))
