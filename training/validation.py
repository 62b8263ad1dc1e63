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

    Where the table has one session alone, every other image is a query and the rest are searched.

    Attributes:
        queries: rows with a right answer among those that they may be answered with.
    """

    def __init__(self, rows: Rows, radius: float, queries: Numbers | None = None) -> None:
        self._group = _groups(rows["session"])
        asked = np.arange(len(rows)) if queries is None else queries
        positives = within_radius(rows[asked], rows, radius)
        positives = [
            near[self._group[near] != self._group[row]] for row, near in zip(asked, positives, strict=True)
        ]
        known = has_positive(positives)
        self.queries: Numbers = asked[known]
        self._positives = [positives[number] for number in np.flatnonzero(known)]
        self._count = len(rows)
        if not len(self.queries):
            raise InputError(
                f"none of {len(rows)} validation images lies within {radius:g} m of one of another session: "
                "give validation drives that pass a place twice"
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
        everything = np.arange(self._count)
        for start in range(0, len(self.queries), BLOCK):
            block = self.queries[start : start + BLOCK]
            scores = torch.zeros(len(block), self._count, device=device)
            for rows, found in similarities(block, everything, encode, dimension, device, share, total):
                scores[:, torch.from_numpy(rows).to(device)] = found
            scores = total(scores)
            own = self._group[block][:, None] == self._group[None]
            scores[torch.from_numpy(own).to(device)] = -torch.inf
            most = min(max(ns), self._count)
            retrieved += list(scores.topk(most, dim=1).indices.cpu().numpy())
        recalls = recall_at(retrieved, self._positives, ns)
        return {n: float(recall or 0.0) for n, recall in recalls.items()}


def _groups(sessions: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return (N,) numbers of the groups within which images do not answer each other."""
    _, numbers = np.unique(sessions, return_inverse=True)
    return numbers if numbers.any() else np.arange(len(sessions)) % 2
