"""What the EXIF of an image file says of where and when it was taken."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import Path

from PIL import Image as PillowImage

from vpr_ros.errors import InputError

# tags of the EXIF standard by number: their names came to Pillow after Ubuntu 22.04
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_ALTITUDE_REF, _ALTITUDE, _DIRECTION = 5, 6, 17
_CHANGED, _TAKEN, _TAKEN_OFFSET, _TAKEN_FRACTION = 0x0132, 0x9003, 0x9011, 0x9291


def read_exif(file: Path) -> PillowImage.Exif:
    """Return the EXIF of an image file, empty where it has none; raises InputError for what is no image."""
    try:
        with PillowImage.open(file) as opened:
            exif: PillowImage.Exif = opened.getexif()
            for part in (_GPS_IFD, _EXIF_IFD):
                exif.get_ifd(part)  # read now: a TIFF must be open for it
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        raise InputError(f"{file}: does not decode as an image: remove it or copy it again") from error
    return exif


def geotag(exif: PillowImage.Exif) -> dict[str, float] | None:
    """Return latitude, longitude, altitude and heading as in the table, or None without a position."""
    gps = exif.get_ifd(_GPS_IFD)
    latitude = _degrees(gps.get(_LATITUDE), gps.get(_LATITUDE_REF) == "S")
    longitude = _degrees(gps.get(_LONGITUDE), gps.get(_LONGITUDE_REF) == "W")
    if math.isnan(latitude) or math.isnan(longitude):
        return None
    below_sea = gps.get(_ALTITUDE_REF) in (1, b"\x01")
    altitude = _number(gps.get(_ALTITUDE))
    return {
        "latitude": latitude,
        "longitude": longitude,
        "altitude": -altitude if below_sea else altitude,
        "heading": _number(gps.get(_DIRECTION)),
    }


def taken(exif: PillowImage.Exif) -> int:
    """Return nanoseconds of the time taken, 0 where it is unknown.

    The camera's clock is read as UTC where EXIF does not say how far it is from that.
    """
    details = exif.get_ifd(_EXIF_IFD)
    text = str(details.get(_TAKEN, exif.get(_CHANGED, "")))
    fraction = str(details.get(_TAKEN_FRACTION, "")).strip()
    nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction.isascii() and fraction.isdigit() else 0
    try:
        time = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    if not 1970 <= time.year < 2262:  # outside what 64 bits of nanoseconds hold
        return 0
    return (int(time.timestamp()) - _offset(str(details.get(_TAKEN_OFFSET, "")))) * 10**9 + nanoseconds


def _offset(text: str) -> int:
    """Return the seconds that a clock of this offset, such as +02:00, is ahead of UTC."""
    try:
        # the year is any: only the offset counts
        ahead = datetime.strptime(f"2000 {text.strip()}", "%Y %z").utcoffset()
    except ValueError:
        return 0
    return int(ahead.total_seconds()) if ahead else 0


def _degrees(parts: object, negative: bool) -> float:
    if not isinstance(parts, tuple) or len(parts) != 3:
        return math.nan
    degrees: float = sum(_number(part) / 60**power for power, part in enumerate(parts))
    return -degrees if negative else degrees


def _number(value: object) -> float:
    """Return an EXIF rational as a float; 0/0 and anything else that is none is unknown."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
    return number if math.isfinite(number) else math.nan
