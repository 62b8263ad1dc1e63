"""Recall@N while training: each session is looked for on each of the others, as a drive is on a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from training.learning.similarity import Encode, Numbers, Share, Total, similarities
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Rows, within_radius
from vpr_ros.metrics import recall_at

#: Queries whose descriptors are held at a time.
BLOCK = 4096


class Validation:
    """Maps, who is looked for on each of them, and what is right.

    Without named queries and database each session is a map, and the images of the others are looked for on
    it: a query counts once for each map that has its place. Where the table has one session alone, every
    other image is the map of the rest, and they of these.

    Args:
        rows: of the table.
        radius: metres within which an answer is right.
        queries: (N,) which rows are queries.
        database: (N,) which rows they are looked for among; what is both is not looked for.

    Attributes:
        queries: numbers of the rows that have a right answer on a map.
        asked: how often one is looked for: a row once for each map that has its place.
    """

    def __init__(
        self,
        rows: Rows,
        radius: float,
        queries: NDArray[np.bool_] | None = None,
        database: NDArray[np.bool_] | None = None,
    ) -> None:
        if (queries is None) != (database is None):
            raise ValueError("expected queries and database, or neither")
        if queries is not None and database is not None:
            maps = [(queries & ~database, database)]
        else:
            group = _groups(rows["session"])
            maps = [(group != each, group == each) for each in np.unique(group)]
        near = within_radius(rows, rows, radius)
        #: for each map its rows, and for each row that is looked for on it those that are right
        self._maps: list[tuple[Numbers, dict[int, Numbers]]] = []
        for asking, answering in maps:
            right = {int(row): near[row][answering[near[row]]] for row in np.flatnonzero(asking)}
            known = {row: places for row, places in right.items() if len(places)}
            self._maps.append((np.flatnonzero(answering), known))
        self.queries: Numbers = np.array(sorted(set().union(*(right for _, right in self._maps))), np.intp)
        self.asked = sum(len(right) for _, right in self._maps)
        self._count = len(rows)
        if not len(self.queries):
            raise InputError(
                f"none of {len(rows)} validation images lies within {radius:g} m of one that it may be found "
                "by: give validation drives that pass a place twice"
            )

    def recalls(
        self,
        encode: Encode,
        dimension: int,
        device: torch.device,
        ns: Sequence[int] = (1, 5, 10),
        share: Share = (0, 1),
        total: Total = lambda tensor: tensor,
    ) -> dict[int, float]:
        """Return recall@N; the arguments are those of `similarities`."""
        retrieved: list[NDArray[np.int64]] = []
        positives: list[Numbers] = []
        everything = np.arange(self._count)
        for start in range(0, len(self.queries), BLOCK):
            block = self.queries[start : start + BLOCK]
            scores = torch.zeros(len(block), self._count, device=device)
            for rows, found in similarities(block, everything, encode, dimension, device, share, total):
                scores[:, torch.from_numpy(rows).to(device)] = found
            scores = total(scores).cpu()
            for places, right in self._maps:
                asking = [number for number, row in enumerate(block.tolist()) if row in right]
                best = scores[asking][:, places].topk(min(max(ns), len(places)), dim=1).indices.numpy()
                retrieved += list(places[best])
                positives += [right[row] for row in block[asking].tolist()]
        recalls = recall_at(retrieved, positives, ns)
        return {n: float(recall or 0.0) for n, recall in recalls.items()}


def _groups(sessions: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return (N,) numbers of the groups that are maps to each other."""
    _, numbers = np.unique(sessions, return_inverse=True)
    return numbers if numbers.any() else np.arange(len(sessions)) % 2
