"""Times as people and cameras write them, as stamps."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_DATE = re.compile(
    r"(\d{4})(?:-?(\d\d))?(?:-?(\d\d))?(?:[ T_-](\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,9})\d*)?)?Z?", re.ASCII
)


def stamp_of(text: str) -> int:
    """Return the nanoseconds of a time in UTC, 0 where it is none.

    It is written 2019, 201907, 20190702, 20190702_123000 or 2019-07-02 12:30:00.25; what is left out is the
    beginning of what is there.
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return 0
    *parts, fraction = found.groups()
    year, month, day, hour, minute, second = (
        int(part or first) for part, first in zip(parts, (1, 1, 1, 0, 0, 0), strict=True)
    )
    try:
        time = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return 0
    if not 1970 <= year < 2262:  # outside what 64 bits of nanoseconds hold
        return 0
    return int(time.timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))
