"""Similarities of some rows to many, without ever holding the descriptors of the many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.intp]
#: Encodes rows in parts: yields the positions in what was asked for, and their (n, D) descriptors.
Encode = Callable[[Numbers], Iterable[tuple[Numbers, Tensor]]]
#: Sums a tensor over the processes; nothing to do for one.
Total = Callable[[Tensor], Tensor]
#: (r, n): this is the r-th of n processes.
Share = tuple[int, int]
_COLUMNS = 512


def similarities(
    queries: Numbers,
    rows: Numbers,
    encode: Encode,
    dimension: int,
    device: torch.device,
    share: Share = (0, 1),
    total: Total = lambda tensor: tensor,
) -> Iterator[tuple[Numbers, Tensor]]:
    """Yield (positions in `rows`, (Q, n) inner products with the queries) until all rows had their turn.

    Only the (Q, D) descriptors of the queries are held; a row that is a query too is encoded once. Each
    process encodes, and yields, a share of the rows.

    Args:
        queries: (Q,) rows, each once.
        rows: (N,) rows, each once.
        encode: rows to descriptors.
        dimension: D.
        device: of the descriptors.
        share: of the processes.
        total: over the processes.
    """
    part, parts = share
    held = torch.zeros(len(queries), dimension, device=device)
    mine = np.arange(len(queries))[part::parts]
    for positions, descriptors in encode(queries[mine]):
        held[torch.from_numpy(mine[positions]).to(device)] = descriptors
    held = total(held)

    number = {row: position for position, row in enumerate(queries.tolist())}
    known = np.array([number.get(row, -1) for row in rows.tolist()], np.intp)
    both = np.flatnonzero(known >= 0)[part::parts]
    for start in range(0, len(both), _COLUMNS):
        positions = both[start : start + _COLUMNS]
        yield positions, held @ held[torch.from_numpy(known[positions]).to(device)].T
    others = np.flatnonzero(known < 0)[part::parts]
    for positions, descriptors in encode(rows[others]):
        yield others[positions], held @ descriptors.T
