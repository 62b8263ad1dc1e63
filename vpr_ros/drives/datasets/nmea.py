"""Fixes of an NMEA 0183 log: RMC for time and place, GGA for altitude."""

from __future__ import annotations

import logging
import math
from datetime import datetime, time, timezone
from pathlib import Path
from typing import Any

import pynmea2

from vpr_ros.drives.datasets.fix import Fix, nanoseconds
from vpr_ros.errors import InputError

logger = logging.getLogger(__name__)


def read_nmea(file: Path) -> list[Fix]:
    """Return the valid fixes of a log, as they come; lines that are damaged are left out, and counted.

    Raises InputError where there is no fix.
    """
    fixes: list[Fix] = []
    times: list[time] = []  # of day, of each fix
    height: tuple[time | None, float] = (None, math.nan)
    damaged = 0
    with file.open(encoding="ascii", errors="replace") as opened:
        for line in opened:
            sentence = _sentence(line)
            damaged += sentence is None and "$" in line
            kind = getattr(sentence, "sentence_type", "")
            if kind == "GGA" and (altitude := _altitude(sentence)) is not None:
                height = sentence.timestamp, altitude
                if times and times[-1] == sentence.timestamp:  # some receivers send it after RMC
                    fixes[-1] = fixes[-1]._replace(altitude=altitude)
            elif kind == "RMC" and (fix := _fix(sentence)) is not None:
                same = height[0] == sentence.timestamp
                fixes.append(fix._replace(altitude=height[1] if same else math.nan))
                times.append(sentence.timestamp)
    if damaged:
        logger.warning("%s: %d damaged sentences left out", file, damaged)
    if not fixes:
        raise InputError(
            f"{file}: no valid RMC sentence in it: GGA alone does not say the day: record RMC, too"
        )
    return fixes


def _sentence(line: str) -> Any:
    """Return the sentence of a line, which may follow the recorder's own words; None where it is none."""
    try:
        return pynmea2.parse(line[line.index("$") :].strip(), check=True)
    except ValueError:  # pynmea2's errors, too
        return None


def _fix(sentence: Any) -> Fix | None:
    """Return the fix of an RMC sentence, or None where it has none."""
    try:
        if sentence.status != "A" or not sentence.lat or not sentence.lon:
            return None
        moment = datetime.combine(sentence.datestamp, sentence.timestamp).replace(tzinfo=timezone.utc)
        return Fix(nanoseconds(moment), sentence.latitude, sentence.longitude)
    except (AttributeError, TypeError, ValueError):  # fields that are empty or none of their kind
        return None


def _altitude(sentence: Any) -> float | None:
    """Return the metres above the ellipsoid of a GGA sentence, or None where it has none."""
    try:
        return float(sentence.altitude) + float(sentence.geo_sep or 0.0) if sentence.gps_qual else None
    except (AttributeError, TypeError, ValueError):
        return None
