"""One position of a track, as files hold them."""

from __future__ import annotations

import math
from typing import NamedTuple


class Fix(NamedTuple):
    """Where a receiver was: nanoseconds UTC, WGS84 degrees, metres."""

    stamp: int
    latitude: float
    longitude: float
    altitude: float = math.nan
