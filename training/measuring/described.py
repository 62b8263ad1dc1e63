"""Places whose descriptors distractors.py has made: the first so many, at any smaller dimension."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from training.measuring.descriptor_folder import PLACES, SHARD, load_queries, shard
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Rows, ground_distance
from vpr_ros.maps.statistics import evenly
from vpr_ros.maps.writer import Block

#: Places that are read at a time.
BLOCK = 8192


class Described:
    """The first places of a folder, as a source of a map.

    Args:
        folder: written by distractors.py.
        count: of places.
        dimension: the first numbers of each descriptor that are used.

    Raises:
        InputError: the folder is not complete, or holds fewer places or dimensions.
    """

    def __init__(self, folder: Path, count: int, dimension: int) -> None:
        if not (folder / PLACES).is_file():
            raise InputError(f"{folder}: no {PLACES}: make it with training/distractors.py, to the end")
        self.folder, self.count, self.dimension = folder, count, dimension
        self.rows: Rows = np.load(folder / PLACES, allow_pickle=False)[:count]
        if len(self.rows) < count or self._stored(0).shape[1] < dimension:
            raise InputError(
                f"{folder}: expected {count} places of {dimension} dimensions or more: make them with "
                "training/distractors.py"
            )

    def sample(self, most: int) -> NDArray[np.float32]:
        """Return at most so many descriptors, evenly chosen."""
        chosen = evenly(self.count, most)
        return np.concatenate(
            [
                self._unit(self._stored(start)[chosen[(chosen >= start) & (chosen < start + SHARD)] - start])
                for start in range(0, self.count, SHARD)
            ]
        )

    def blocks(self) -> Iterator[Block]:
        """Yield all places in order."""
        for start in range(0, self.count, SHARD):
            stored = self._stored(start)[: self.count - start]
            for first in range(0, len(stored), BLOCK):
                descriptors = self._unit(stored[first : first + BLOCK])
                yield Block(descriptors, self.rows[start + first : start + first + len(descriptors)])

    def numbered(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the number of the first of some places, and their (n, P) descriptors."""
        start = 0
        for block in self.blocks():
            yield start, block.descriptors
            start += len(block.rows)

    def queries(self, kind: str) -> tuple[Rows, NDArray[np.float32]]:
        """Return the rows and the (M, P) descriptors of the queries of one kind."""
        rows, descriptors = load_queries(self.folder, kind)
        return rows, self._unit(descriptors)

    def nearest(self, queries: NDArray[np.float32], k: int, device: torch.device) -> NDArray[np.int64]:
        """Return the (M, k) places nearest to (M, P) queries, compared with each one in float32."""
        asked = torch.from_numpy(queries).to(device)
        best = torch.empty(len(queries), 0, device=device)
        places = torch.empty(len(queries), 0, dtype=torch.int64, device=device)
        for start, block in self.numbered():
            there = torch.from_numpy(block).to(device)
            numbers = torch.arange(start, start + len(there), device=device).expand(len(asked), -1)
            together = torch.cat([best, asked @ there.T], dim=1)
            best, order = together.topk(min(k, together.shape[1]), dim=1)
            places = torch.cat([places, numbers], dim=1).gather(1, order)
        return places.cpu().numpy()

    def _stored(self, start: int) -> NDArray[np.float16]:
        stored: NDArray[np.float16] = np.load(shard(self.folder, start), mmap_mode="r", allow_pickle=False)
        return stored

    def _unit(self, stored: NDArray[np.floating]) -> NDArray[np.float32]:
        # PyTorch uses all cores for what NumPy does with one
        descriptors = torch.from_numpy(np.array(stored[:, : self.dimension])).float()
        unit: NDArray[np.float32] = F.normalize(descriptors, dim=1).numpy()
        return unit


def near(found: NDArray[np.int64], places: Rows, queries: Rows, radius: float) -> NDArray[np.bool_]:
    """Return which of the (M, k) places found lie within so many metres of the M queries."""
    return np.asarray(ground_distance(places[found], queries[:, None]) <= radius)
