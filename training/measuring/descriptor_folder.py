"""The folder of descriptors that distractors.py writes, and bench_map.py measures maps on: its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import Rows

#: The rows of all places; it is written last.
PLACES = "places.npy"
#: Queries of two kinds, each with its rows and descriptors.
PHOTOGRAPHS, CROPS = "photographs", "crops"
#: Places of one file, 256 MiB at 4096 dimensions: what is computed again after an interruption.
SHARD = 1 << 15


def shard(folder: Path, start: int) -> Path:
    """Return the file whose first descriptor is that of place `start`, a multiple of SHARD."""
    return folder / f"descriptors-{start // SHARD:04d}.npy"


def save_queries(folder: Path, kind: str, rows: Rows, descriptors: NDArray[np.float32]) -> None:
    """Write the (M,) rows and (M, P) descriptors of queries of one kind."""
    files = _query_files(folder, kind)
    save(files[0], rows)
    save(files[1], descriptors)


def load_queries(folder: Path, kind: str) -> tuple[Rows, NDArray[np.float32]]:
    """Return what `save_queries` wrote."""
    rows, descriptors = (np.load(file, allow_pickle=False) for file in _query_files(folder, kind))
    return rows, descriptors


def save(file: Path, array: NDArray[np.generic]) -> None:
    """Write an array, whole or not at all."""
    with replacing_file(file) as partial, partial.open("wb") as opened:
        np.save(opened, array, allow_pickle=False)


def _query_files(folder: Path, kind: str) -> tuple[Path, Path]:
    return folder / f"{kind}-rows.npy", folder / f"{kind}-descriptors.npy"
