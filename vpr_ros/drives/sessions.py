"""The drives that a table of geotagged images is of: when they were, where they went, how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vpr_ros.geotagged import COLUMNS, Rows, ground_distance

#: A step this many times longer than the median one of its session, and at least this many metres, is a gap.
GAP, SHORTEST_GAP = 10.0, 50.0


@dataclass(frozen=True, eq=False)
class Session:
    """One drive.

    Attributes:
        name: as in the table.
        stretches: row numbers in the order of the drive; between two stretches there is a gap.
        metres: driven, the gaps left out.
        first: stamp in nanoseconds; 0 where none is known.
        last: likewise.
    """

    name: str
    stretches: list[NDArray[np.int64]]
    metres: float
    first: int
    last: int

    def __len__(self) -> int:
        return sum(map(len, self.stretches))


def sessions_of(rows: Rows) -> list[Session]:
    """Return the sessions of a table in the order of their first rows."""
    names, first, number = np.unique(rows["session"], return_index=True, return_inverse=True)
    order = np.lexsort((rows["stamp"], number))  # stable: without stamps in the table's order
    members = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return [_session(str(names[each]), rows, members[each]) for each in np.argsort(first)]


def iso(stamp: int) -> str | None:
    """Return a stamp in nanoseconds as ISO 8601, UTC, to the millisecond; None for 0, which is unknown."""
    return f"{np.datetime_as_string(np.datetime64(stamp, 'ns'), unit='ms')}Z" if stamp else None


def told_apart(parts: Sequence[Rows]) -> tuple[list[Rows], dict[str, str]]:
    """Number the sessions of later tables whose name an earlier one has: they are other drives.

    Returns:
        the tables, and the new names by the old ones.
    """
    taken: set[str] = set()
    apart = []
    renamed: dict[str, str] = {}
    for rows in parts:
        names = set(np.unique(rows["session"]).tolist())
        new = {name: _free(name, taken | names) for name in sorted(names & taken)}
        apart.append(_with_names(rows, new) if new else rows)
        renamed |= new
        taken |= names | set(new.values())
    return apart, renamed


def _free(name: str, taken: set[str]) -> str:
    return next(each for number in count(2) if (each := f"{name} ({number})".strip()) not in taken)


def _with_names(rows: Rows, new: Mapping[str, str]) -> Rows:
    wide = f"U{max(map(len, [*new.values(), *np.unique(rows['session']).tolist()]))}"
    kinds = [(name, wide if name == "session" else rows.dtype[name]) for name in COLUMNS]
    renamed = rows.astype(kinds)
    for name in new:
        renamed["session"][rows["session"] == name] = new[name]
    return renamed


def _session(name: str, rows: Rows, members: NDArray[np.int64]) -> Session:
    steps = ground_distance(rows[members[:-1]], rows[members[1:]])
    gap = steps > max(SHORTEST_GAP, GAP * float(np.median(steps))) if len(steps) else np.zeros(0, bool)
    stretches = np.split(members, np.flatnonzero(gap) + 1)
    stamps = rows["stamp"][members]
    known = stamps[stamps != 0]
    first, last = (int(known[0]), int(known[-1])) if len(known) else (0, 0)
    return Session(name, stretches, float(steps[~gap].sum()), first, last)
