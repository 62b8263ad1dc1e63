"""Which images a query is trained with: its best positive and hardest negatives, under cached features.

The cache is never held as a whole: `similarity` streams it past the descriptors of the queries. What is kept
is one similarity for each candidate of each query, which gives the same tuples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.learning.similarity import Encode, Numbers, Share, Total, similarities
from training.learning.supervision import Supervision
from vpr_ros.errors import InputError

NONE: Numbers = np.empty(0, np.intp)


@dataclass(frozen=True)
class Mining:
    """How hard negatives are found.

    Args:
        drawn: Definite negatives drawn at random for each query.
        remembered: Hardest negatives of a query that are tried again the next time.
        kept: Violating negatives that a query is trained with, at most.
        refresh_every: Queries after which features are computed anew; doubles when the learning rate halves.
    """

    drawn: int = 1000
    remembered: int = 10
    kept: int = 10
    refresh_every: int = 1000

    def __post_init__(self) -> None:
        if min(self.drawn, self.kept, self.refresh_every) < 1 or self.remembered < 0:
            raise InputError(
                "mining: expected drawn, kept and refresh_every of at least 1, remembered of at least 0"
            )


@dataclass(frozen=True, eq=False)
class Candidates:
    """The images that may be in the tuples of some queries: one entry for each query and image.

    Attributes:
        queries: (Q,) rows.
        owner: (M,) number of the query, in `queries`.
        row: (M,) the image, rising.
        positive: (M,) whether it is a potential positive; else a definite negative.
    """

    queries: Numbers
    owner: Numbers
    row: Numbers
    positive: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tuples:
    """What some queries are trained with.

    Attributes:
        queries: (Q,) rows.
        positives: (Q,) row of the best positive.
        negatives: for each query the rows of its violating negatives, the hardest first; maybe none.
        hardest: for each query the rows to remember, violating or not.
    """

    queries: Numbers
    positives: Numbers
    negatives: list[Numbers]
    hardest: list[Numbers]


def draw_candidates(
    supervision: Supervision,
    queries: Numbers,
    remembered: Mapping[int, Numbers],
    drawn: int,
    rng: np.random.Generator,
) -> Candidates:
    """Return the potential positives of each query, with negatives at random and those remembered."""
    owner, row, positive = [], [], []
    for number, query in enumerate(queries.tolist()):
        session = supervision.draw_session(query, rng)
        positives = supervision.positives_in(query, session)
        negatives = supervision.draw_negatives(query, drawn, rng, session)
        negatives = np.union1d(negatives, supervision.on_map(remembered.get(query, NONE), session))
        row += [positives, negatives]
        positive += [np.ones(len(positives), bool), np.zeros(len(negatives), bool)]
        owner.append(np.full(len(positives) + len(negatives), number))
    rows = np.concatenate(row)
    order = np.argsort(rows, kind="stable")
    return Candidates(queries, np.concatenate(owner)[order], rows[order], np.concatenate(positive)[order])


def candidate_similarities(
    candidates: Candidates,
    encode: Encode,
    dimension: int,
    device: torch.device,
    share: Share = (0, 1),
    total: Total = lambda tensor: tensor,
) -> NDArray[np.float32]:
    """Return the (M,) inner product of each candidate's descriptor with its query's.

    The arguments are those of `similarities`.
    """
    result = torch.zeros(len(candidates.row), device=device)
    rows = np.unique(candidates.row)
    first = np.searchsorted(candidates.row, rows, "left")
    count = np.searchsorted(candidates.row, rows, "right") - first
    for positions, scores in similarities(candidates.queries, rows, encode, dimension, device, share, total):
        column = np.repeat(np.arange(len(positions)), count[positions])
        entries = np.concatenate([first[each] + np.arange(count[each]) for each in positions])
        owner = torch.from_numpy(candidates.owner[entries]).to(device)
        result[torch.from_numpy(entries).to(device)] = scores[owner, torch.from_numpy(column).to(device)]
    summed: NDArray[np.float32] = total(result).cpu().numpy()
    return summed


def choose_tuples(
    candidates: Candidates, similarity: NDArray[np.float32], mining: Mining, margin: float
) -> Tuples:
    """Return each query's best positive and hardest negatives.

    A negative violates where d^2(q, p) + margin > d^2(q, n); d^2 is 2 - 2 similarity of unit descriptors.
    """
    by_owner = np.argsort(candidates.owner, kind="stable")
    bounds = np.searchsorted(candidates.owner[by_owner], np.arange(len(candidates.queries) + 1))
    positives = np.empty(len(candidates.queries), np.intp)
    negatives, hardest = [], []
    for number in range(len(candidates.queries)):
        entries = by_owner[bounds[number] : bounds[number + 1]]
        is_positive = candidates.positive[entries]
        good, bad = entries[is_positive], entries[~is_positive]
        best = good[similarity[good].argmax()]
        positives[number] = candidates.row[best]
        bad = bad[np.argsort(-similarity[bad], kind="stable")]
        hardest.append(candidates.row[bad[: mining.remembered]])
        violating = 2 * (similarity[bad] - similarity[best]) + margin > 0
        negatives.append(candidates.row[bad[violating][: mining.kept]])
    return Tuples(candidates.queries, positives, negatives, hardest)
