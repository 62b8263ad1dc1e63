"""Queries encoded once, and looked for in each of several maps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measuring.counted import Counted
from training.measuring.query_cost import TIMED_SEARCHES, Descriptors
from vpr_ros.engines.batches import encode_table
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.open_engine import AnyEngine
from vpr_ros.place_map import PlaceMap

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What was found.

    Attributes:
        places: for each map and each query the places that count, the most similar first; none for a query
            that does not decode.
        encoded: rows of the queries that were.
        descriptors: (M, P) of the first of those, as many as are timed.
    """

    places: list[list[Places]]
    encoded: list[int]
    descriptors: Descriptors


def retrieve(
    engine: AnyEngine, maps: Sequence[tuple[PlaceMap, Counted]], queries: GeotaggedImages
) -> Retrieved:
    """Return what is found for queries in maps that were built with an engine's weights."""
    none: Places = np.empty(0, np.int64)
    places, encoded = [[none] * len(queries) for _ in maps], []
    asked: Descriptors = np.empty((0, engine.dimension), np.float32)
    with closing(encode_table(engine, queries, what="encoding queries")) as batches:
        for batch in batches:
            encoded += batch.rows.tolist()
            asked = np.concatenate([asked, batch.descriptors[: TIMED_SEARCHES - len(asked)]])
            for (place_map, counted), answers in zip(maps, places, strict=True):
                _, similar = place_map.search(batch.descriptors, counted.depth)
                for row, found in zip(batch.rows, similar, strict=True):
                    answers[row] = counted.of(found, int(queries.rows["stamp"][row]))
    return Retrieved(places, encoded, asked)
