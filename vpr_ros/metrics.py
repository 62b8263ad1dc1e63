"""How good answers are: recall@N, errors in metres, percentiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Metres within which an answer is right, and within which of a place a frame is on the map.
RIGHT_M = 25.0


def recall_at(
    retrieved: Sequence[NDArray[np.int64]], positives: Sequence[NDArray[np.intp]], ns: Sequence[int]
) -> dict[int, float | None]:
    """Return, for each N, the share of queries with a positive among their first N; None without queries.

    A query without any positive in the map counts as a failure, as in the NetVLAD evaluation, unless the
    caller leaves it out: see `has_positive`.

    Args:
        retrieved: for each query the numbers of places, the most similar first; empty where unanswered.
        positives: for each query the numbers of the places within the radius.
        ns: the Ns.
    """
    if not positives:
        return dict.fromkeys(ns)
    hits = [np.isin(places, near) for places, near in zip(retrieved, positives, strict=True)]
    return {n: float(np.mean([hit[:n].any() for hit in hits])) for n in ns}


def has_positive(positives: Sequence[NDArray[np.intp]]) -> NDArray[np.bool_]:
    """Return which queries were taken where the map knows a place at all."""
    return np.array([len(near) > 0 for near in positives], bool)


def percentiles(values: ArrayLike, which: Sequence[int] = (50, 95, 99)) -> dict[str, float | None]:
    """Return {"p50": ...} of the values; None where there are none."""
    array = np.asarray(values, np.float64)
    return {f"p{p}": float(np.percentile(array, p)) if array.size else None for p in which}
