"""Which places make one hypothesis: those near each other that are looked at the same way."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpr_ros.geodesy import Array

#: Views that differ by more than this, in radians, are not one place seen twice.
SAME_VIEW = math.pi / 2
_COS_SAME_VIEW = math.cos(SAME_VIEW)
#: Places up to which each is compared with each at once: an integer of 64 bits holds a row of the answers.
_AT_ONCE = 62


def turned(yaw: ArrayLike, other: ArrayLike) -> NDArray[np.bool_]:
    """Tell which views are too far apart in direction to be one; False where either is unknown."""
    return np.asarray(np.cos(np.subtract(yaw, other)) < _COS_SAME_VIEW)


def clusters(enu: Array, yaw: Array, radius: float) -> list[NDArray[np.intp]]:
    """Return groups of rows, each around its best row; a chain of places along a road does not grow one.

    Args:
        enu: (N, 3) metres, the best place first.
        yaw: (N,) radians; NaN where unknown.
        radius: metres, east and north, around the best row of a group.
    """
    return [np.array(rows, np.intp) for rows in members(enu, yaw, radius)]


def members(enu: Array, yaw: Array, radius: float) -> list[list[int]]:
    """Return what `clusters` does, as lists, which cost less than arrays of few rows."""
    position = enu[:, 0] + 1j * enu[:, 1]
    groups = []
    if len(enu) <= _AT_ONCE:
        near = np.abs(position[:, None] - position) <= radius
        near &= ~turned(yaw, yaw[:, None])
        left = (1 << len(enu)) - 1
        for best, row in enumerate((near @ _BITS[: len(enu)]).tolist()):
            if left >> best & 1:
                group = left & row
                left ^= group
                groups.append(_set_bits(group))
        return groups
    free = np.ones(len(enu), bool)
    for best in range(len(enu)):
        if free[best]:
            near = np.abs(position - position[best]) <= radius
            group = np.flatnonzero(free & near & ~turned(yaw, yaw[best]))
            free[group] = False
            groups.append(group.tolist())
    return groups


_BITS = 1 << np.arange(_AT_ONCE)


def _set_bits(number: int) -> list[int]:
    bits = []
    while number:
        lowest = number & -number
        bits.append(lowest.bit_length() - 1)
        number ^= lowest
    return bits
