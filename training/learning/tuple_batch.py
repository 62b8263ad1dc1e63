"""The images of one step, laid out for the loss, and each process's share of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.learning.augmentation import Augmentation, Changes, draw_changes
from training.learning.mining import Tuples
from training.learning.similarity import Numbers, Share


@dataclass(frozen=True, eq=False)
class TupleBatch:
    """One process's share of the tuples of one step; tuples without a violating negative are left out.

    Attributes:
        size: queries of the step, over all processes, tuples left out included.
        empty: no process has a tuple.
        rows: (n,) the images: of each tuple the query, its best positive, its negatives.
        queries: (t,) where in `rows` the queries are; each is followed by its positive.
        negatives: (m,) where the negatives are.
        owners: (m,) the number of each negative's tuple, of this process's.
        changes: of the images.
    """

    size: int
    empty: bool
    rows: Numbers
    queries: Numbers
    negatives: Numbers
    owners: Numbers
    changes: Changes


def share_of_batch(
    tuples: Tuples,
    start: int,
    stop: int,
    share: Share,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> TupleBatch:
    """Lay out tuples start to stop; every n-th of them, from the r-th on, is of the share (r, n).

    The changes of an image do not depend on the number of processes.
    """
    numbers = [number for number in range(start, stop) if len(tuples.negatives[number])]
    parts = [
        np.concatenate([[tuples.queries[number], tuples.positives[number]], tuples.negatives[number]])
        for number in numbers
    ]
    rows = np.concatenate([*parts, np.empty(0)]).astype(np.intp)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    changes = draw_changes(augmentation, owner, rng)
    part, processes = share
    mine = np.flatnonzero(owner % processes == part)
    own = owner[mine] // processes
    place = np.arange(len(own)) - np.searchsorted(own, own)  # within its tuple
    is_negative = place >= 2
    return TupleBatch(
        size=stop - start,
        empty=not numbers,
        rows=rows[mine],
        queries=np.flatnonzero(place == 0),
        negatives=np.flatnonzero(is_negative),
        owners=own[is_negative],
        changes=changes.of(mine),
    )
