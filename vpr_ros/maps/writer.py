"""Descriptors, places and pictures to a map: streamed, and written whole or not at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_folder import files_below, replacing
from vpr_ros.files.checksum import sum_of
from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.geotagged import Rows
from vpr_ros.maps.index import (
    REDUCED,
    are_whitened,
    bytes_a_place,
    default_effort,
    factory,
    forget_rows,
    inner,
    is_flat,
    keeps_descriptors,
    reconstructed,
    rotated,
    train,
    training_size,
    untrained,
)
from vpr_ros.maps.index_file import FlatIndexWriter, write_index
from vpr_ros.maps.manifest import (
    CENTRE,
    DESCRIPTORS,
    INDEX,
    MANIFEST,
    FileSum,
    Manifest,
    write_manifest,
)
from vpr_ros.maps.pictures import PictureWriter
from vpr_ros.maps.places import PlaceWriter, numbers_of
from vpr_ros.maps.statistics import SAMPLE, evenly, spacing_of, unrelated_of
from vpr_ros.maps.stored_descriptors import KINDS, DescriptorWriter, Kind
from vpr_ros.version import project_version

Vectors = NDArray[np.float32]
#: Candidates that are ranked again where descriptors are stored and nothing is said.
RERANK = 100


@dataclass(frozen=True, eq=False)
class Block:
    """Some places of a source: (n, P) descriptors, (n,) rows, and the JPEG of each, or none at all."""

    descriptors: Vectors
    rows: Rows
    pictures: Sequence[bytes | None] = ()


class Source(Protocol):
    """What is to become a map: descriptors of unit length, rows and pictures."""

    @property
    def count(self) -> int:
        """The number of places."""

    @property
    def dimension(self) -> int:
        """P of the descriptors."""

    def sample(self, most: int) -> Vectors:
        """Return at most so many descriptors, evenly chosen."""

    def blocks(self) -> Iterator[Block]:
        """Yield all places in order."""


class InMemory:
    """A source of arrays."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._blocks: list[Block] = []

    @property
    def count(self) -> int:
        """The number of places so far."""
        return sum(len(block.rows) for block in self._blocks)

    def add(self, descriptors: Vectors, rows: Rows, pictures: Sequence[bytes | None] = ()) -> None:
        """Append N places: their (N, P) descriptors, rows, and JPEGs or none."""
        self._blocks.append(Block(descriptors, rows, pictures))

    def sample(self, most: int) -> Vectors:
        """Return at most so many descriptors, evenly chosen."""
        return np.concatenate([block.descriptors for block in self._blocks])[evenly(self.count, most)]

    def blocks(self) -> Iterator[Block]:
        """Yield what was added."""
        yield from self._blocks


def check_replaceable(folder: Path) -> None:
    """Raise InputError where writing a map of that name would remove something else."""
    if (
        folder.exists()
        and not (folder / MANIFEST).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise InputError(f"{folder}: exists and is not a map: name another folder, or remove it")


def write_map(
    folder: Path,
    source: Source,
    fingerprint: str,
    geotag_std: float,
    datum: Datum | None = None,
    index: str = "auto",
    stored: str = "auto",
    rerank: int | None = None,
    trained: faiss.Index | None = None,
    progress: bool = True,
) -> None:
    """Write a map, replacing a map of that name, whole or not at all.

    Args:
        folder: of the map.
        source: of its places.
        fingerprint: of the encoder.
        geotag_std: metres, what is known of the geotags' error.
        datum: origin of the local frame; the first place where none is given.
        index: auto, flat, ivf, ivfpq, hnsw, or any factory string that `maps.index.untrained` takes.
        stored: auto, none, float16 or int8: descriptors that are kept beside the index; by auto, where the
            index does not hold them as they are.
        rerank: candidates that are ranked again by the stored descriptors.
        trained: an index of that factory string, trained and empty, to be filled.
        progress: whether to show it.
    """
    count, dimension = source.count, source.dimension
    if not count:
        raise InputError(f"{folder}: no place to write: expected at least one geotagged image")
    check_replaceable(folder)
    name, filled = _index(source, index, trained)
    kind = _kind(stored, filled)
    rerank = _rerank(rerank, kind, filled)
    effort = default_effort(filled)
    with replacing(folder) as partial:
        places, sample = _fill(partial, source, filled, kind, progress)
        datum = datum or _first_place(places)
        enu = to_enu(places["latitude"], places["longitude"], places["altitude"], datum)
        chosen = evenly(count)
        queries = vectors = sample
        if not is_flat(filled) and not rerank:  # as it will be searched
            queries, vectors = rotated(filled, sample), reconstructed(inner(filled), chosen)
            forget_rows(filled)
        if not is_flat(filled):
            write_index(filled, partial / INDEX)
        np.save(partial / CENTRE, vectors.mean(axis=0, dtype=np.float32), allow_pickle=False)
        names = files_below(partial)
        manifest = Manifest(
            encoder=fingerprint,
            dimension=dimension,
            places=count,
            datum=datum,
            geotag_std=float(geotag_std),
            unrelated=unrelated_of(queries @ vectors.T, enu[chosen]),
            spacing=spacing_of(enu),
            index=name,
            effort=effort,
            rerank=rerank,
            files={each: FileSum((partial / each).stat().st_size, sum_of(partial / each)) for each in names},
            version=project_version(),
        )
        write_manifest(partial, manifest)


def _index(source: Source, index: str, trained: faiss.Index | None) -> tuple[str, faiss.Index]:
    """Return the factory string of a map's index, and the index: trained and empty."""
    count, dimension = source.count, source.dimension
    name = factory(index, count, dimension)
    if name not in (index, "Flat") and dimension > REDUCED:
        name = factory(index, count, dimension, are_whitened(source.sample(SAMPLE)))
    filled = untrained(name, dimension) if trained is None else trained
    needed, free = bytes_a_place(filled) * count / 1e9, _free_memory() / 1e9
    if not is_flat(filled) and needed > free:
        raise InputError(
            f"the index {name} of {count} places takes {needed:.1f} GB of memory, {free:.1f} GB are free: "
            "choose --index ivfpq, or flat, which is not held there"
        )
    if size := training_size(filled):
        train(filled, source.sample(size))
    return name, filled


def _free_memory() -> float:
    """Return the bytes of memory that can be had without swapping; infinity where nobody says."""
    file = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", file.read_text()) if file.is_file() else None
    return int(found[1]) * 1024 if found else math.inf


def _kind(stored: str, index: faiss.Index) -> Kind | None:
    if stored == "auto":
        return None if keeps_descriptors(index) else "int8"
    for kind in KINDS:
        if stored == kind:
            return kind
    if stored != "none":
        raise InputError(f"stored {stored!r}: expected auto, none, {' or '.join(KINDS)}")
    return None


def _rerank(rerank: int | None, kind: Kind | None, index: faiss.Index) -> int:
    if rerank and kind is None:
        raise InputError(f"rerank {rerank}: no descriptors are stored to rank by: choose --stored int8")
    if rerank is not None and rerank < 0:
        raise InputError(f"rerank {rerank}: expected 0 or more candidates")
    if kind is None or keeps_descriptors(index):
        return 0
    return RERANK if rerank is None else rerank


def _fill(
    folder: Path, source: Source, index: faiss.Index, kind: Kind | None, progress: bool
) -> tuple[Rows, Vectors]:
    """Stream a source into index and files; return its places, and the descriptors of SAMPLE of them."""
    count, dimension = source.count, source.dimension
    chosen = evenly(count)
    places: list[Rows] = []
    sample: list[Vectors] = []
    done = 0
    with ExitStack() as stack:
        pictures = stack.enter_context(closing(PictureWriter(folder)))
        table = stack.enter_context(closing(PlaceWriter(folder, count)))
        add = [index.add]
        if is_flat(index):
            add = [stack.enter_context(closing(FlatIndexWriter(folder / INDEX, count, dimension))).append]
        if kind is not None:
            writer = DescriptorWriter(folder / DESCRIPTORS, count, dimension, kind)
            add.append(stack.enter_context(closing(writer)).append)
        bar = stack.enter_context(
            tqdm(total=count, desc="writing map", unit="place", leave=False, disable=not progress)
        )
        for block in source.blocks():
            descriptors = np.ascontiguousarray(block.descriptors, np.float32)
            for each in add:
                each(descriptors)
            for picture in block.pictures or [None] * len(block.rows):
                pictures.append(picture)
            here = chosen[(chosen >= done) & (chosen < done + len(block.rows))] - done
            sample.append(descriptors[here])
            table.append(block.rows)
            places.append(numbers_of(block.rows))
            done += len(block.rows)
            bar.update(len(block.rows))
    if done != count:
        raise ValueError(f"a source of {count} places yielded {done}")
    return np.concatenate(places), np.concatenate(sample)


def _first_place(rows: Rows) -> Datum:
    latitude, longitude, altitude = (float(rows[0][name]) for name in ("latitude", "longitude", "altitude"))
    return Datum(latitude, longitude, 0.0 if np.isnan(altitude) else altitude)
