"""Weak supervision from geotags: potential positives and definite negatives (section 4 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_ecef
from vpr_ros.geotagged import Rows

SESSIONS = ("any", "other", "drawn", "map")


@dataclass(frozen=True)
class Radii:
    """What geotags say of two images.

    Args:
        positive: Metres within which they may show the same scene.
        trivial: Metres beyond which images of one session are not copies of each other.
        negative: Metres beyond which they certainly do not.
        sessions: Where positives come from: any session; other, sessions other than the query's, where it has
            a positive there; drawn, one of those, another each time, so that the best positive is not always
            the one in the most similar light; map, that one too, and negatives as well, as if it were the map
            that the query is looked for on.
    """

    positive: float = 10.0
    trivial: float = 1.0
    negative: float = 25.0
    sessions: str = "any"

    def __post_init__(self) -> None:
        if not 0 <= self.trivial < self.positive <= self.negative:
            raise InputError(
                f"radii of {self.trivial:g}, {self.positive:g} and {self.negative:g} m: expected trivial < "
                "positive <= negative"
            )
        if self.sessions not in SESSIONS:
            raise InputError(
                f"positives of '{self.sessions}' sessions: expected one of {', '.join(SESSIONS)}"
            )


class Supervision:
    """The potential positives of each image, and where its definite negatives are not.

    Attributes:
        positives: for each image the rows of its potential positives, rising.
        queries: rows that have a potential positive and a definite negative.
        no_positive: images left out because they have no potential positive.
        no_negative: likewise, no definite negative.
    """

    def __init__(self, rows: Rows, radii: Radii) -> None:
        self._radius, self._sessions = radii.negative, rows["session"]
        self._radii = radii
        self._points = to_ecef(rows["latitude"], rows["longitude"])
        self._tree = cKDTree(self._points)
        self.positives = _positives(rows, self._points, self._tree, radii)
        with_positive = np.array([len(positives) > 0 for positives in self.positives], bool)
        near = self._tree.query_ball_point(self._points, self._radius, return_length=True)
        with_negative = np.asarray(near) < len(rows)
        self.queries: NDArray[np.intp] = np.flatnonzero(with_positive & with_negative)
        self.no_positive = int((~with_positive).sum())
        self.no_negative = int((with_positive & ~with_negative).sum())
        if not len(self.queries):
            raise InputError(
                f"none of {len(rows)} images has another within {radii.positive:g} m "
                f"({self.no_positive} have not) and one farther than {radii.negative:g} m "
                f"({self.no_negative} more have not): give drives that pass a place twice"
            )

    def near(self, row: int) -> NDArray[np.intp]:
        """Return the rows that are no definite negatives of this one, itself included."""
        return np.asarray(self._tree.query_ball_point(self._points[row], self._radius), np.intp)

    def draw_session(self, row: int, rng: np.random.Generator) -> str | None:
        """Return a session at random that a row's positives are to come from; None for all of them."""
        sessions = self._sessions[self.positives[row]]
        others = np.unique(sessions[sessions != self._sessions[row]])
        if self._radii.sessions not in ("drawn", "map") or not len(others):
            return None
        return str(rng.choice(others))

    def positives_in(self, row: int, session: str | None) -> NDArray[np.intp]:
        """Return the potential positives of a row, those of a session alone where there is one."""
        positives = self.positives[row]
        chosen: NDArray[np.intp] = positives[(self._sessions[positives] == session) | (session is None)]
        return chosen

    def draw_negatives(
        self, row: int, count: int, rng: np.random.Generator, session: str | None = None
    ) -> NDArray[np.intp]:
        """Return `count` definite negatives of a row at random, each once; all of them if they are fewer.

        They are of the session where that is the map and has some; see `on_map`.
        """
        definite = np.ones(len(self._points), bool)
        definite[self.near(row)] = False
        everywhere = np.flatnonzero(definite)
        here = self.on_map(everywhere, session)
        negatives = here if len(here) else everywhere
        return negatives if len(negatives) <= count else rng.choice(negatives, count, replace=False)

    def on_map(self, negatives: NDArray[np.intp], session: str | None) -> NDArray[np.intp]:
        """Return those that are of the session drawn, where that is the map; else all of them."""
        if session is None or self._radii.sessions != "map":
            return negatives
        here: NDArray[np.intp] = negatives[self._sessions[negatives] == session]
        return here


def _positives(
    rows: Rows, points: NDArray[np.float64], tree: cKDTree, radii: Radii
) -> list[NDArray[np.intp]]:
    """Return for each row those within the radius that are of another session or more than a copy of it.

    Images whose session is unknown count as one session: among them only distance tells copies apart.
    """
    sessions = rows["session"]
    found = []
    for row, near in enumerate(tree.query_ball_point(points, radii.positive, return_sorted=True)):
        others = np.asarray(near, np.intp)
        others = others[others != row]
        elsewhere = sessions[others] != sessions[row]
        apart = np.linalg.norm(points[others] - points[row], axis=1) > radii.trivial
        only = radii.sessions != "any" and elsewhere.any()
        found.append(others[elsewhere] if only else others[elsewhere | apart])
    return found
