"""One position of a track, as files hold them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import NamedTuple


def nanoseconds(time: datetime) -> int:
    """Return the stamp of a time that knows its zone: never through a float, which loses nanoseconds."""
    return int(time.replace(microsecond=0).timestamp()) * 10**9 + time.microsecond * 1000


class Fix(NamedTuple):
    """Where a receiver was: nanoseconds UTC, WGS84 degrees, metres."""

    stamp: int
    latitude: float
    longitude: float
    altitude: float = math.nan
