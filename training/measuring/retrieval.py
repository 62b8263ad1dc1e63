"""Queries encoded once, and looked for in each of several maps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.measuring.counted import Counted
from training.measuring.query_cost import TIMED_SEARCHES, Descriptors
from vpr_ros.engines.batches import encode_table
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.open_engine import AnyEngine
from vpr_ros.place_map import PlaceMap


class Found(NamedTuple):
    """What a map found for each query: its places, best first, and how similar they are."""

    places: list[NDArray[np.int64]]
    similarities: list[NDArray[np.float32]]


def retrieve(
    engine: AnyEngine, maps: Sequence[tuple[PlaceMap, Counted]], queries: GeotaggedImages
) -> tuple[list[Found], list[int], Descriptors]:
    """Encode queries, and search for them in maps that were built with the engine's weights.

    Returns:
        What each map found, which is nothing for a query that does not decode; the rows of those that do; and
        the (M, P) descriptors of the first of them, as many as are timed.
    """
    found = [
        Found([np.empty(0, np.int64)] * len(queries), [np.empty(0, np.float32)] * len(queries)) for _ in maps
    ]
    encoded: list[int] = []
    asked: Descriptors = np.empty((0, engine.dimension), np.float32)
    with closing(encode_table(engine, queries, what="encoding queries")) as batches:
        for batch in batches:
            encoded += batch.rows.tolist()
            asked = np.concatenate([asked, batch.descriptors[: TIMED_SEARCHES - len(asked)]])
            for (place_map, counted), answers in zip(maps, found, strict=True):
                alike, places = place_map.search(batch.descriptors, counted.depth)
                for row, several, how in zip(batch.rows, places, alike, strict=True):
                    kept = counted.of(several, int(queries.rows["stamp"][row]))
                    answers.places[row] = kept
                    answers.similarities[row] = how[np.isin(several, kept)]
    return found, encoded, asked
