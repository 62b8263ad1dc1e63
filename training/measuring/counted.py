"""Which retrieved places count in a recall, by the rules of a data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpr_ros.geotagged import Rows

#: Times that a street of Tokyo Time Machine was driven, with a margin: its authors search as much deeper.
_TIMES = 10


class Counted:
    """The rules.

    Attributes:
        depth: places to search for, so that enough are left.
    """

    def __init__(self, places: Rows, most: int, views: int = 1, other_times: bool = False) -> None:
        """Take the map's places.

        Args:
            places: (N,) with latitude, longitude and stamp.
            most: retrieved places that count at most.
            views: of a panorama, all at one position, of which only the best counts; 1 counts each place.
            other_times: whether places with the query's stamp are left out.
        """
        self._most, self._one_each = most, views > 1
        self._stamps = places["stamp"] if other_times else None
        self._positions = np.stack([places["latitude"], places["longitude"]], axis=1)
        self.depth = most * views * (_TIMES if other_times else 1)

    def of(self, found: NDArray[np.int64], stamp: int) -> NDArray[np.int64]:
        """Return those of the found places that count, the most similar first.

        Args:
            found: (K,) numbers of places, likewise.
            stamp: of the query; where it is 0, unknown, no place is left out for it.
        """
        if self._stamps is not None and stamp:
            found = found[self._stamps[found] != stamp]
        if self._one_each:
            _, first = np.unique(self._positions[found], axis=0, return_index=True)
            found = found[np.sort(first)]
        return found[: self._most]
