"""Places of open maps, and of several sources together, as the source of another map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpr_ros.geotagged import Rows, join_rows
from vpr_ros.maps.statistics import evenly
from vpr_ros.maps.writer import Block, Source
from vpr_ros.place_map import PlaceMap

#: Places of a map that are read at a time.
BLOCK = 4096


class MapSource:
    """Some places of an open map, in rising order."""

    def __init__(self, place_map: PlaceMap, places: NDArray[np.int64]) -> None:
        self.place_map = place_map
        self.places = places

    @property
    def count(self) -> int:
        """The number of places."""
        return len(self.places)

    @property
    def dimension(self) -> int:
        """P of the descriptors."""
        return self.place_map.manifest.dimension

    @cached_property
    def rows(self) -> Rows:
        """The rows of the places."""
        return self.place_map.rows(self.places)

    def sample(self, most: int) -> NDArray[np.float32]:
        """Return at most so many descriptors, evenly chosen."""
        return self.place_map.descriptors(self.places[evenly(self.count, most)])

    def blocks(self) -> Iterator[Block]:
        """Yield all places in order."""
        kept = self.place_map.pictures
        for start in range(0, self.count, BLOCK):
            places = self.places[start : start + BLOCK]
            pictures = [kept.read(place) for place in places.tolist()] if kept is not None else ()
            yield Block(self.place_map.descriptors(places), self.place_map.rows(places), pictures)


class Joined:
    """Several sources, one after the other, as one.

    Args:
        sources: of one dimension.
        rows: of all of them, in order, in place of their own.
    """

    def __init__(self, sources: Sequence[Source], rows: Rows) -> None:
        self._sources = [source for source in sources if source.count]
        self._rows = rows

    @property
    def count(self) -> int:
        """The number of places."""
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """P of the descriptors."""
        return self._sources[0].dimension

    def sample(self, most: int) -> NDArray[np.float32]:
        """Return at most so many descriptors, of each source its share."""
        share = min(1.0, most / self.count)
        return np.concatenate([source.sample(max(1, int(share * source.count))) for source in self._sources])

    def blocks(self) -> Iterator[Block]:
        """Yield all places in order."""
        start = 0
        for source in self._sources:
            for block in source.blocks():
                stop = start + len(block.rows)
                yield Block(block.descriptors, self._rows[start:stop], block.pictures)
                start = stop


def rows_of(source: Source) -> Rows:
    """Return the rows of all places of a source."""
    return (
        source.rows if isinstance(source, MapSource) else join_rows([each.rows for each in source.blocks()])
    )
