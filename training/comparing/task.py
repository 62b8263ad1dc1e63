"""Who is looked for on what: 'QUERIES on DATABASE', patterns of session names such as '*night on *day'."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.geotagged import Rows


def match_task(rows: Rows, task: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of (N,) rows are queries, and which are the database.

    Raises InputError for a task of another form.
    """
    queries, separator, database = task.partition(" on ")
    if not separator:
        raise InputError(f"task '{task}': expected QUERIES on DATABASE, such as '*night on *day'")
    return _sessions(rows, queries), _sessions(rows, database)


def _sessions(rows: Rows, pattern: str) -> NDArray[np.bool_]:
    return np.array([fnmatchcase(session, pattern) for session in rows["session"].tolist()], bool)
