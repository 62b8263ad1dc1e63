"""Fixes of a GPX file."""

from __future__ import annotations

import math
from datetime import timezone
from pathlib import Path

import gpxpy
from gpxpy.gpx import GPXTrackPoint

from vpr_ros.drives.datasets.fix import Fix, nanoseconds
from vpr_ros.errors import InputError, first_line


def read_gpx(file: Path) -> list[Fix]:
    """Return the points of all tracks that have a time, as they come; raises InputError for no GPX."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not GPX in UTF-8 ({error})") from error
    # entities grow without bound and may name other files; no GPX needs them
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{file}: holds a document type: expected plain GPX: remove <!DOCTYPE ...>")
    try:
        tracks = gpxpy.parse(text).tracks
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        raise InputError(f"{file}: no GPX ({first_line(error)}): export it again") from error
    points = [point for track in tracks for segment in track.segments for point in segment.points]
    fixes = [_fix(point) for point in points if point.time is not None]
    if not fixes:
        raise InputError(f"{file}: none of its {len(points)} track points has a time: record with times")
    return fixes


def _fix(point: GPXTrackPoint) -> Fix:
    assert point.time is not None  # noqa: S101  left out above
    time = point.time if point.time.tzinfo else point.time.replace(tzinfo=timezone.utc)
    altitude = math.nan if point.elevation is None else point.elevation + (point.geoid_height or 0.0)
    return Fix(nanoseconds(time), point.latitude, point.longitude, altitude)
