"""Maps made of maps: several together, or some of the places of one; each written whole or not at all."""

from __future__ import annotations

import logging
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_ros import calibration
from vpr_ros.drives.sessions import told_apart
from vpr_ros.errors import InputError
from vpr_ros.geotagged import join_rows
from vpr_ros.maps.index import choose, factory, inner, is_flat, keeps_descriptors
from vpr_ros.maps.index_file import read_trained
from vpr_ros.maps.manifest import INDEX, MANIFEST
from vpr_ros.maps.redundant import repeated, superseded
from vpr_ros.maps.source import Joined, MapSource, rows_of
from vpr_ros.maps.writer import Source, write_map
from vpr_ros.place_map import PlaceMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Merged:
    """What became of the places of several maps.

    Attributes:
        places: of the new map.
        superseded: left out because a later map has been there.
        renamed: sessions of later maps by the names that they had.
    """

    places: int
    superseded: int
    renamed: Mapping[str, str]


def whole(maps: Sequence[PlaceMap]) -> list[MapSource]:
    """Return all places of each of several maps; raises InputError where they are not of one encoder."""
    for each in maps[1:]:
        check_encoder(each.folder, each.fingerprint, maps[0])
    return [MapSource(each, np.arange(len(each))) for each in maps]


def without_repeated(sources: Sequence[MapSource]) -> list[MapSource]:
    """Return of each source the places that no source before it has."""
    kept = [sources[0]]
    for source in sources[1:]:
        known = repeated(join_rows([each.rows for each in kept]), source.rows)
        kept.append(MapSource(source.place_map, source.places[~known]))
    return kept


def check_encoder(what: Path, fingerprint: str, first: PlaceMap) -> None:
    """Raise InputError where descriptors of an encoder cannot be put into a map."""
    if fingerprint != first.fingerprint:
        raise InputError(
            f"{what}: of other weights ({fingerprint[:12]}) than {first.folder} ({first.fingerprint[:12]}): "
            "only descriptors of one encoder can be compared: build it with the same weights"
        )


def merge_sources(
    out: Path, earlier: Sequence[MapSource], latest: Source, geotag_std: float, supersede: float | None = None
) -> Merged:
    """Write the places of several sources as one map, about the datum of the first one.

    Args:
        out: of the new map; it may be one of those that it is made of.
        earlier: in order of time.
        latest: what was seen last.
        geotag_std: metres, of the latest; the new map has the largest of all.
        supersede: leave out what a later source has seen within so many metres, looking the same way.
    """
    first = earlier[0].place_map
    rows = [rows_of(source) for source in (*earlier, latest)]
    kept = list(earlier)
    if supersede is not None:
        for number, source in enumerate(earlier):
            gone = superseded(rows[number], join_rows(rows[number + 1 :]), supersede)
            kept[number] = MapSource(source.place_map, source.places[~gone])
            rows[number] = rows[number][~gone]
    before = sum(source.count for source in earlier) + latest.count
    rows, renamed = told_apart(rows)
    joined = join_rows(rows)
    std = max(geotag_std, *(source.place_map.geotag_std for source in earlier))
    given = [source.place_map for source in (*earlier, latest) if isinstance(source, MapSource)]
    _say_what_is_lost(out, given)
    _write(out, Joined([*kept, latest], joined), first, std)
    return Merged(len(joined), before - len(joined), renamed)


def keep(place_map: PlaceMap, chosen: NDArray[np.bool_], out: Path) -> int:
    """Write some places of a map as a map about the same datum; return how many."""
    source = MapSource(place_map, np.flatnonzero(chosen))
    _say_what_is_lost(out, [place_map])
    _write(out, source, place_map, place_map.geotag_std)
    return source.count


def sizes_of(place_map: PlaceMap) -> dict[str, int]:
    """Return how many bytes the files of a map take, and the folder of pictures of one of format 1."""
    sizes: Counter[str] = Counter()
    for name in (MANIFEST, *place_map.manifest.files):
        file = place_map.folder / name
        sizes[name.partition("/")[0]] += file.stat().st_size if file.exists() else 0
    return dict(sizes)


def _write(out: Path, source: Source, first: PlaceMap, geotag_std: float) -> None:
    index = _index_for(first, source.count)
    if index == first.manifest.index:
        _check_room(out, sum(sizes_of(first).values()) * source.count // len(first))
    stored = str(first.stored.kind) if first.stored is not None else "none"
    rerank: int | None = first.manifest.rerank
    if index == "auto":
        stored, rerank = "auto", None
    trained = None
    if index == first.manifest.index and not is_flat(first.index):
        trained = read_trained(first.folder / INDEX)
    write_map(out, source, first.fingerprint, geotag_std, first.datum, index, stored, rerank, trained)


def _index_for(first: PlaceMap, count: int) -> str:
    """Return the index of a map of so many places that is made of another: the same one while it serves.

    What it was trained on is of the same places. Only where the map keeps its descriptors as they were is
    there anything to train another one on.
    """
    before = first.manifest.index
    dimension = first.manifest.dimension
    if not _keeps_descriptors(first):
        return before
    if choose(count, dimension) == "Flat":  # a small map
        return "auto" if choose(len(first), dimension) != "Flat" else before
    if before == "Flat":
        return "auto" if choose(len(first), dimension) == "Flat" else before
    behind = inner(first.index)
    fitting = int(factory("ivf", count, dimension).removeprefix("IVF").partition(",")[0])
    if not isinstance(behind, faiss.IndexIVF) or 1 / 2 <= fitting / behind.nlist <= 2:
        return before
    return re.sub(r"IVF\d+", f"IVF{fitting}", before)


def _keeps_descriptors(place_map: PlaceMap) -> bool:
    """Tell whether a map has its descriptors, beside the index or in it, but for rounding."""
    return place_map.stored is not None or keeps_descriptors(place_map.index)


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(next(each for each in out.resolve().parents if each.exists())).free
    if free < needed:
        raise InputError(
            f"{out}: needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free: make room, or write "
            "elsewhere"
        )


def _say_what_is_lost(out: Path, maps: Sequence[PlaceMap]) -> None:
    for place_map in maps:
        if not _keeps_descriptors(place_map):
            logger.warning(
                "%s: keeps no descriptors beside its index %s: they are coded again, and lose a little more",
                *(place_map.folder, place_map.manifest.index),
            )
    if any((place_map.folder / calibration.FILE).exists() for place_map in maps):
        logger.warning("%s: has no calibration, for none holds for it: run training/calibrate.py", out)
