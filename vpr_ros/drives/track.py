"""The GPS track of one drive: the position at a time, keyframes along it, the direction of travel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, from_ecef, to_ecef, to_enu, wrap_degrees, yaw_to_heading

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Track:
    """Where a drive went.

    Attributes:
        stamps: (M,) rising nanoseconds.
        positions: (M, 3) WGS84 latitude, longitude (degrees), altitude (m, NaN where unknown).
        headings: (M,) degrees clockwise from north, NaN where unknown; None: the direction of travel.
        points: what its points are, in words.
    """

    stamps: NDArray[np.int64]
    positions: Array
    headings: Array | None = None
    points: str = "fixes"


@dataclass(frozen=True, eq=False)
class Geotags:
    """Where the images of a drive were taken, of those for which the track says it.

    Attributes:
        known: (K,) numbers of these images, rising.
        positions: (K, 3) latitude, longitude, altitude.
        headings: (K,) degrees, NaN where unknown.
        enu: (K, 2) metres about the first position of the track.
        outside: images before the track begins or after it ends.
        in_gaps: images within a gap of it.
    """

    known: NDArray[np.intp]
    positions: Array
    headings: Array
    enu: Array
    outside: int
    in_gaps: int


def geotag(stamps: NDArray[np.int64], track: Track, max_gap: float, source: Path) -> Geotags:
    """Return where images were taken.

    Args:
        stamps: (N,) of the images, rising nanoseconds.
        track: of the same drive, by the same clock.
        max_gap: seconds between two of its points above which nothing is known of what lies between.
        source: of the images, which the error names.

    Raises:
        InputError: of none of the images it is known.
    """
    positions, outside, gap = interpolate(track.stamps, track.positions, stamps, max_gap)
    known = np.flatnonzero(~outside & ~gap)
    if not len(known):
        raise InputError(
            f"{source}: no image between two {track.points}: images {_span(stamps)}, these "
            f"{_span(track.stamps)}, gaps above {max_gap:g} s left out: are camera and GPS on one clock?"
        )
    origin = Datum(*track.positions[0, :2])
    enu = to_enu(positions[known, 0], positions[known, 1], 0.0, origin)[:, :2]
    if track.headings is None:
        # a direction of travel is not taken across a gap
        breaks = np.flatnonzero((np.diff(known) > 1) | (np.diff(stamps[known]) > max_gap * 1e9)) + 1
        headings = np.concatenate([track_heading(stretch) for stretch in np.split(enu, breaks)])
    else:
        headings = turn(track.stamps, track.headings, stamps[known])
    return Geotags(known, positions[known], headings, enu, int(outside.sum()), int(gap.sum()))


def _span(stamps: NDArray[np.int64]) -> str:
    return f"from {stamps[0] / 1e9:.3f} to {stamps[-1] / 1e9:.3f} s"


def interpolate(
    fix_stamps: NDArray[np.int64], fixes: Array, stamps: NDArray[np.int64], max_gap: float
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the position at each stamp, between the fixes around it, never beyond the first or last.

    Args:
        fix_stamps: (M,) rising nanoseconds.
        fixes: (M, 3) latitude, longitude (degrees), altitude (m, NaN where unknown).
        stamps: (N,) nanoseconds.
        max_gap: seconds between two fixes over which nothing is known of what lies between them.

    Returns:
        (N, 3) latitude, longitude, altitude, NaN where unknown; (N,) outside the first and last fix;
        (N,) within a gap.
    """
    positions = np.full((len(stamps), 3), np.nan)
    outside = np.ones(len(stamps), bool)
    gap = np.zeros(len(stamps), bool)
    if not len(fix_stamps):
        return positions, outside, gap
    outside = (stamps < fix_stamps[0]) | (stamps > fix_stamps[-1])
    after = np.clip(np.searchsorted(fix_stamps, stamps), 0, len(fix_stamps) - 1)
    before = np.maximum(after - 1, 0)
    exact = ~outside & (fix_stamps[after] == stamps)
    before[exact] = after[exact]
    gap = ~outside & (fix_stamps[after] - fix_stamps[before] > max_gap * 1e9)
    known = ~outside & ~gap
    after, before = after[known], before[known]
    span = np.maximum(fix_stamps[after] - fix_stamps[before], 1)
    share = ((stamps[known] - fix_stamps[before]) / span)[:, None]
    # along the chord between points of the ellipsoid, so that no meridian or pole is special
    surface = to_ecef(fixes[:, 0], fixes[:, 1])
    positions[known] = from_ecef(surface[before] * (1 - share) + surface[after] * share)
    altitude = fixes[:, 2]
    positions[known, 2] = altitude[before] * (1 - share[:, 0]) + altitude[after] * share[:, 0]
    return positions, outside, gap


def turn(track_stamps: NDArray[np.int64], headings: Array, stamps: NDArray[np.int64]) -> Array:
    """Return the heading at each stamp, turned the shorter way from the one before it to the one after it.

    Args:
        track_stamps: (M,) rising nanoseconds.
        headings: (M,) degrees clockwise from north, NaN where unknown.
        stamps: (N,) nanoseconds, none before the first of the track or after its last.

    Returns:
        (N,) degrees, NaN where either neighbour's is unknown.
    """
    after = np.searchsorted(track_stamps, stamps)
    before = np.where(track_stamps[after] == stamps, after, after - 1)
    span = np.maximum(track_stamps[after] - track_stamps[before], 1)
    share = (stamps - track_stamps[before]) / span
    difference = wrap_degrees(headings[after] - headings[before])
    turned: Array = (headings[before] + share * difference) % 360.0
    return turned


def keyframes(positions: Array, spacing: float) -> NDArray[np.intp]:
    """Return the rows that are at least `spacing` metres from the one kept before: standing still adds none.

    Args:
        positions: (N, 2 or 3) metres along one drive, in order.
        spacing: metres; 0 keeps all.
    """
    kept: list[int] = []
    for row, position in enumerate(positions):
        if not kept or np.linalg.norm(position - positions[kept[-1]]) >= spacing:
            kept.append(row)
    return np.asarray(kept, np.intp)


def track_heading(enu: Array, baseline: float = 5.0) -> Array:
    """Return the direction of travel at each pose of one drive.

    It is taken between the last pose at least half a baseline behind and the first one as far ahead, so
    that the noise of single fixes is damped; unknown where the track is too short for that.

    Args:
        enu: (N, 2 or more) metres east, north along the drive, in order.
        baseline: metres; longer is steadier, and rounder in corners.

    Returns:
        (N,) degrees clockwise from north, NaN where unknown.
    """
    heading = np.full(len(enu), np.nan)
    if len(enu) < 2:
        return heading
    track = enu[:, :2]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track, axis=0), axis=1))])
    behind = np.maximum(np.searchsorted(travelled, travelled - baseline / 2, side="right") - 1, 0)
    ahead = np.minimum(np.searchsorted(travelled, travelled + baseline / 2), len(enu) - 1)
    step = track[ahead] - track[behind]
    moving = np.linalg.norm(step, axis=1) >= baseline / 2
    heading[moving] = yaw_to_heading(np.arctan2(step[moving, 1], step[moving, 0]))
    return heading
