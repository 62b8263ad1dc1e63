"""Places that add nothing to others: seen again later, too close together, or the same ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpr_ros.geodesy import to_ecef, wrap_degrees
from vpr_ros.geotagged import Rows

#: Degrees between two headings up to which a camera sees much the same.
SAME_WAY = 45.0
#: The share by which a distance is less on the ellipsoid than 6 km above it: what is exactly so far apart
#: on a mountain is far enough apart.
SHRUNK = 1e-3
#: Rows whose neighbours are looked for at a time.
BLOCK = 1 << 14


def superseded(earlier: Rows, later: Rows, metres: float) -> NDArray[np.bool_]:
    """Tell which of (N,) rows have one of later rows within so many metres that looks the same way.

    An unknown heading may be any.
    """
    tree = cKDTree(_ground(later))
    found = np.zeros(len(earlier), bool)
    for start in range(0, len(earlier), BLOCK):
        rows = earlier[start : start + BLOCK]
        near = tree.query_ball_point(_ground(rows), metres)
        of = np.repeat(np.arange(len(rows)), [len(each) for each in near])
        by = np.concatenate([np.asarray(each, np.intp) for each in near])
        found[start + of[_same_way(rows["heading"][of], later["heading"][by])]] = True
    return found


def spaced(rows: Rows, metres: float) -> NDArray[np.bool_]:
    """Tell which of (N,) rows to keep so that those that look the same way are at least so many metres apart.

    The first one stays, and of those after it each that no kept one is too near to.
    """
    ground = _ground(rows)
    tree = cKDTree(ground)
    keep = np.ones(len(rows), bool)
    for row in range(len(rows)):
        if keep[row]:
            near = np.asarray(tree.query_ball_point(ground[row], metres * (1 - SHRUNK)), np.intp)
            after = near[near > row]
            keep[after[_same_way(rows["heading"][row], rows["heading"][after])]] = False
    return keep


def repeated(earlier: Rows, later: Rows) -> NDArray[np.bool_]:
    """Tell which of (N,) later rows are among the earlier ones: the same image at the same time and place."""
    found = np.isin(later["stamp"], earlier["stamp"])
    known = set(_keys(earlier[np.isin(earlier["stamp"], later["stamp"])]))
    found[found] = [key in known for key in _keys(later[found])]
    return found


def _keys(rows: Rows) -> Iterator[tuple[object, ...]]:
    return zip(*(rows[name].tolist() for name in ("image", "stamp", "latitude", "longitude")), strict=True)


def _ground(rows: Rows) -> NDArray[np.float64]:
    return to_ecef(rows["latitude"], rows["longitude"])


def _same_way(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = ~(np.abs(wrap_degrees(first - second)) > SAME_WAY)  # unknown ones included
    return same
