"""What the positions of a map tell: where places are missing, how densely they lie, which ones stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpr_ros.drives.sessions import Session
from vpr_ros.drives.track import track_heading
from vpr_ros.geodesy import wrap_degrees
from vpr_ros.metrics import RIGHT_M
from vpr_ros.place_map import PlaceMap, Places

Array = NDArray[np.float64]

#: Metres within which places count as neighbours, as an answer counts as right.
NEAR = RIGHT_M
#: A step is a gap from so many metres on, however close together the places of its drive are.
SHORTEST_GAP = 10.0
#: Metres of travel that a place's direction of travel is taken over.
BASELINE = 6.0
#: Points of a gap at which the nearest place is looked for, at most; the one half way is among them.
LOOKED_AT = 1001


@dataclass(frozen=True)
class Gap:
    """A step of a drive that is too long.

    Attributes:
        before: the place at its beginning.
        after: the next place of the drive.
        metres: from one to the other.
        bare: metres to the nearest place of the whole map, from where in between that is farthest.
        filled: whether places of other drives, or of the same one at another time, lie in it as closely as
            a step may be long.
    """

    before: int
    after: int
    metres: float
    bare: float
    filled: bool


@dataclass(frozen=True, eq=False)
class Drive:
    """A session of a map, as its positions tell it.

    Attributes:
        session: with its name and stamps.
        pieces: places in the order of the drive; between two of them there is a gap.
        steps: (n - 1,) metres from each place to the next, gaps included.
        gaps: in the order of the drive.
        looks: degrees clockwise from the direction of travel to where the camera looks, in the mean; NaN
            where no heading is known, or nothing moved.
    """

    session: Session
    pieces: list[Places]
    steps: Array
    gaps: list[Gap]
    looks: float

    @property
    def places(self) -> Places:
        """All of them, in the order of the drive."""
        return np.concatenate(self.pieces)


@dataclass(frozen=True, eq=False)
class Survey:
    """What the positions of a map tell.

    Attributes:
        drives: in the order of the map.
        off_line: (N,) metres from each place to the line between the one before and the one after; NaN
            where one of them is missing.
        turned: (N,) degrees between a place's heading and where its drive's camera looks; NaN where unknown.
        still: (N,) whether a place is exactly where the one before it is.
    """

    drives: list[Drive]
    off_line: Array
    turned: Array
    still: NDArray[np.bool_]


def survey(place_map: PlaceMap, sessions: Sequence[Session], gap: float) -> Survey:
    """Return what the positions of a map tell.

    Args:
        place_map: the map.
        sessions: all of it.
        gap: a step so many times longer than the median one of its drive is a gap.
    """
    off_line, turned = np.full((2, len(place_map)), np.nan)
    still = np.zeros(len(place_map), bool)
    drives = []
    for session in sessions:
        places = np.concatenate(session.stretches)
        ground = place_map.enu[places, :2]
        steps = np.linalg.norm(np.diff(ground, axis=0), axis=1)
        moved = steps[steps > 0]
        longest = max(SHORTEST_GAP, gap * float(np.median(moved)) if len(moved) else 0.0)
        wide = np.flatnonzero(steps > longest)
        pieces = np.split(places, wide + 1)
        still[places[1:]] = steps == 0
        for piece in pieces:
            off_line[piece] = _off_line(place_map.enu[piece, :2])
        looks = np.concatenate([_looks(place_map, piece) for piece in pieces])
        mean = _mean_angle(looks)
        turned[places] = np.abs(wrap_degrees(looks - mean))
        gaps = [_gap(place_map, places[each], places[each + 1], longest) for each in wide]
        drives.append(Drive(session, pieces, steps, gaps, mean))
    return Survey(drives, off_line, turned, still)


def density(place_map: PlaceMap, places: Places) -> NDArray[np.int64]:
    """Return how many places of the map lie near each of M, itself included."""
    found = place_map.ground.query_ball_point(place_map.enu[places, :2], NEAR, return_length=True)
    return np.asarray(found, np.int64)


def seen_both_ways(place_map: PlaceMap, places: Places) -> NDArray[np.bool_]:
    """Tell which of M places have one near that looks about the other way.

    About: in one of the three eighths of the compass card that lie opposite to the place's own.
    """
    headings = place_map.places["heading"]
    eighth = np.full(len(headings), -1)
    known = ~np.isnan(headings)
    eighth[known] = np.round(headings[known] / 45.0).astype(int) % 8
    both = np.zeros(len(places), bool)
    for looking in range(8):
        mine = np.flatnonzero(eighth[places] == looking)
        opposite = np.isin(eighth, [(looking + turn) % 8 for turn in (3, 4, 5)])
        if len(mine) and opposite.any():
            nearest, _ = cKDTree(place_map.enu[opposite, :2]).query(place_map.enu[places[mine], :2])
            both[mine] = nearest <= NEAR
    return both


def _gap(place_map: PlaceMap, before: int, after: int, longest: float) -> Gap:
    start, end = place_map.enu[before, :2], place_map.enu[after, :2]
    metres = float(np.linalg.norm(end - start))
    shares = np.linspace(0, 1, min(2 * int(metres) + 1, LOOKED_AT))[:, None]
    nearest, _ = place_map.ground.query(start + shares * (end - start))
    bare = float(nearest.max())
    return Gap(int(before), int(after), metres, bare, filled=bare <= longest / 2)


def _off_line(ground: Array) -> Array:
    """Return the (n,) metres of (n, 2) positions from the line between their neighbours; NaN at the ends."""
    off = np.full(len(ground), np.nan)
    before, here, after = ground[:-2], ground[1:-1], ground[2:]
    along = after - before
    squared = np.maximum((along**2).sum(axis=1), np.finfo(float).tiny)
    share = np.clip(((here - before) * along).sum(axis=1) / squared, 0.0, 1.0)
    off[1:-1] = np.linalg.norm(here - before - share[:, None] * along, axis=1)
    return off


def _looks(place_map: PlaceMap, piece: Places) -> Array:
    """Return the (n,) degrees clockwise from the direction of travel to the heading; NaN where unknown."""
    travel = track_heading(place_map.enu[piece], BASELINE)
    return wrap_degrees(place_map.places["heading"][piece] - travel)


def _mean_angle(degrees: Array) -> float:
    known = np.radians(degrees[~np.isnan(degrees)])
    return float(np.degrees(np.angle(np.exp(1j * known).sum()))) if len(known) else np.nan
