"""Recall@N while training: the images of each session looked for among those of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from training.similarity import Encode, Numbers, Share, Total, similarities
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Rows, within_radius
from vpr_ros.metrics import has_positive, recall_at

#: Queries whose descriptors are held at a time.
BLOCK = 4096


class Validation:
    """Queries, what each may be answered with, and what is right.

    Without named queries and database, each image is looked for among those of the other sessions; where
    the table has one session alone, every other image is a query and the rest are searched.

    Args:
        rows: of the table.
        radius: metres within which an answer is right.
        queries: (N,) which rows are queries.
        database: (N,) which rows they are looked for among.

    Attributes:
        queries: numbers of the rows that have a right answer.
    """

    def __init__(
        self,
        rows: Rows,
        radius: float,
        queries: NDArray[np.bool_] | None = None,
        database: NDArray[np.bool_] | None = None,
    ) -> None:
        if queries is not None and database is not None:
            self._group = np.where(queries, 0, -1)
            self._database = database
        else:
            self._group = _groups(rows["session"])
            self._database = np.ones(len(rows), bool)
        asked = np.flatnonzero(self._group >= 0)
        positives = [
            near[self._allowed(np.array([row]))[0, near]]
            for row, near in zip(asked, within_radius(rows[asked], rows, radius), strict=True)
        ]
        known = has_positive(positives)
        self.queries: Numbers = asked[known]
        self._positives = [positives[number] for number in np.flatnonzero(known)]
        if not len(self.queries):
            raise InputError(
                f"none of {len(rows)} validation images lies within {radius:g} m of one that it may be found "
                "by: give validation drives that pass a place twice"
            )

    def _allowed(self, queries: Numbers) -> NDArray[np.bool_]:
        """Return (Q, N): which rows may answer which queries."""
        allowed: NDArray[np.bool_] = (self._group[queries][:, None] != self._group) & self._database
        return allowed

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
        everything = np.arange(len(self._group))
        for start in range(0, len(self.queries), BLOCK):
            block = self.queries[start : start + BLOCK]
            scores = torch.zeros(len(block), len(everything), device=device)
            for rows, found in similarities(block, everything, encode, dimension, device, share, total):
                scores[:, torch.from_numpy(rows).to(device)] = found
            scores = total(scores)
            scores[torch.from_numpy(~self._allowed(block)).to(device)] = -torch.inf
            most = min(max(ns), len(everything))
            retrieved += list(scores.topk(most, dim=1).indices.cpu().numpy())
        recalls = recall_at(retrieved, self._positives, ns)
        return {n: float(recall or 0.0) for n, recall in recalls.items()}


def _groups(sessions: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return (N,) numbers of the groups within which images do not answer each other."""
    _, numbers = np.unique(sessions, return_inverse=True)
    return numbers if numbers.any() else np.arange(len(sessions)) % 2
