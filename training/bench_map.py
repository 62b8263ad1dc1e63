"""What a map's index costs in recall, bytes and time, on descriptors that distractors.py has made.

python training/bench_map.py --descriptors DESCRIPTORS --json bench/map.json

Two kinds of queries: photographs of other sessions than the map's, and crops of the map's photographs that
are not in it. Figures of each:

- same@1: the first place that the index finds is the one that comparing with every place in float32 finds;
  same@5: that one is among its first five. Many places of such a map are crops of one photograph, so this is
  more than finding the place.
- place@1, place@5: a place within 25 m of the query's geotag is the first, or among the first five; a crop
  counts as the place of its photograph. Every query has such a place in the map.
- lost@1: points of place@1 below what comparing with every place has.

Bytes are those of the files written. Searches are timed one query at a time through `PlaceMap.search`,
re-ranking included, in a process of its own with one core, and with two. Before it starts the system drops
the map's files from its memory: its first answer is one from the disk.
"""

from __future__ import annotations

import json as to_json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.measuring.described import Described, near
from training.measuring.descriptor_folder import CROPS, PHOTOGRAPHS, save
from training.measuring.map_chart import draw_loss
from training.measuring.map_table import GPU, ONE, TWO, growth, points, table
from training.measuring.map_timing import (
    K,
    Way,
    forget,
    forget_peak,
    memory,
    milliseconds,
    searched,
    time_map,
)
from vpr_ros.command import run
from vpr_ros.engine import choose_device
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.files.atomic_folder import replacing
from vpr_ros.maps.index import default_effort, factory, train, training_size, untrained
from vpr_ros.maps.manifest import DESCRIPTORS
from vpr_ros.maps.resident import ResidentMap
from vpr_ros.maps.stored_descriptors import KINDS, DescriptorWriter
from vpr_ros.maps.writer import RERANK, write_map
from vpr_ros.metrics import RIGHT_M
from vpr_ros.place_map import open_map

Places = NDArray[np.int64]
#: Numbers above which lists or a graph of whole descriptors are left out: they take an hour.
MOST_NUMBERS = 1 << 29
#: Of an index's own effort, these shares are measured too.
EFFORTS = (0.5, 2)
#: Not an index: the descriptors on the GPU.
RESIDENT = "resident"
INDICES = ["auto", "ivfpq64", RESIDENT, "ivfpq32", "ivfpq128", "flat", "ivf", "hnsw"]
#: Sizes from which one sees how maps grow.
SMALL = [1_000, 10_000]
#: Searches that are timed, and ways that are timed on two cores as well.
TIMED, TWO_CORES = 1000, 3
NS = (1, 5)


@dataclass(frozen=True)
class Case:
    """One index over the first so many places."""

    places: int
    dimension: int
    index: str  # of INDICES, or a FAISS factory string

    @property
    def factory(self) -> str:
        """FAISS's factory string."""
        code = re.fullmatch(r"ivfpq(\d+)", self.index)
        if code is None:
            return factory(self.index, self.places, self.dimension)
        return factory("ivfpq", self.places, self.dimension).replace("PQ64", f"PQ{code[1]}")

    @property
    def too_large(self) -> bool:
        """Whether it would take longer than anybody waits."""
        return self.index in ("ivf", "hnsw") and self.places * self.dimension > MOST_NUMBERS

    def __str__(self) -> str:
        return f"{self.index} {self.places} x {self.dimension}"


def bench_map(
    descriptors: Path,
    json: Path,
    counts: list[int] | None = None,
    dimensions: list[int] | None = None,
    indices: list[str] | None = None,
    minutes: float = math.inf,
    picture: Path | None = None,
    device: str = "auto",
) -> None:
    """Measure indices over real descriptors, what matters most first; what is in the file is not repeated.

    Args:
        descriptors: Folder that distractors.py has written; maps are written into it, and removed.
        json: File of the figures, written after each index.
        counts: Places; 1000000 and 100000, and some smaller maps, where not given.
        dimensions: 512, 4096 and 128 where not given.
        indices: auto, flat, ivf, hnsw, ivfpq32, ivfpq64, ivfpq128, resident (on the GPU), or FAISS factory
            strings; all of the former where not given.
        minutes: After which no other index is begun.
        picture: Draw the recall that is lost on the largest map against bytes a place.
        device: Of exact search: auto, cuda or cpu.
    """
    begun, where = perf_counter(), choose_device(device)
    chosen = _cases(counts, dimensions or [512, 4096, 128], indices)
    figures: list[dict[str, Any]] = to_json.loads(json.read_text()) if json.is_file() else []
    done = [each["case"] for each in figures]
    for case in chosen:
        if asdict(case) in done or (case.index == RESIDENT and where.type != "cuda"):
            continue
        if perf_counter() - begun > 60 * minutes:
            print(f"{minutes:g} minutes are over: {case} and what follows is left for the next call")
            break
        if case.too_large:
            print(f"{case}: left out, it would take too long")
            continue
        measured = _resident if case.index == RESIDENT else _index
        try:
            figures.append({"case": asdict(case), **measured(case, descriptors, where)})
        except InputError as error:
            print(f"{case}: left out: {error}", flush=True)
            continue
        with replacing_file(json) as partial:
            partial.write_text(to_json.dumps(figures, indent=1))
        print(f"{perf_counter() - begun:.0f} s: {case} is measured", flush=True)
    print(table(figures), growth(figures), sep="\n\n")
    if picture is not None and figures:
        draw_loss(picture, points(figures), "Recall lost by smaller maps of photographs and their crops")


def _cases(counts: list[int] | None, dimensions: list[int], indices: list[str] | None) -> list[Case]:
    """Return what is measured, what matters most first."""
    order = [
        (1_000_000, INDICES[:5]),
        (100_000, INDICES),
        *((count, ["auto", "flat"]) for count in SMALL),
        (1_000_000, INDICES),
    ]
    if counts or indices:
        order = [(count, indices or INDICES) for count in counts or [1_000_000, 100_000]]
    cases: list[Case] = []
    for count, names in order:
        for name in names:
            cases += [Case(count, dimension, name) for dimension in dimensions]
    different: dict[tuple[int, int, str], Case] = {}  # auto is one of the others
    for case in cases:
        same = case.index if case.index == RESIDENT else case.factory
        different.setdefault((case.places, case.dimension, same), case)
    return list(different.values())


def _index(case: Case, descriptors: Path, device: torch.device) -> dict[str, Any]:
    """Write a map with that index, and measure it."""
    source, work = _begin(case, descriptors)
    exact, folder = _exact(source, work, device), work / "map"
    kept = _kept(source, work) if "PQ" in case.factory else work
    forget_peak()
    before, start = memory(), perf_counter()
    index = untrained(case.factory, case.dimension)
    if size := training_size(index):
        train(index, source.sample(size))
    trained = perf_counter()
    ways = _ways(default_effort(index), case)
    stored = "auto" if case.index == "auto" else "none"
    write_map(
        folder, source, "bench", RIGHT_M, index=case.factory, stored=stored, trained=index, progress=False
    )
    written, most = perf_counter(), memory("VmHWM")
    del index
    figures: dict[str, Any] = {
        "factory": case.factory,
        "train_s": trained - start,
        "write_s": written - trained,
        "memory_before_mib": before,
        "memory_at_most_mib": most,
        "bytes": {file.name: file.stat().st_size / case.places for file in sorted(folder.iterdir())},
    }
    try:
        _search(figures, source, folder, ways, kept, exact)
    finally:
        shutil.rmtree(folder)
    return figures


def _search(
    figures: dict[str, Any],
    source: Described,
    folder: Path,
    ways: list[Way],
    kept: Path,
    exact: Mapping[str, Places],
) -> None:
    """Add to the figures of a map what searching it takes, and what is found."""
    queries = _timed(source, folder.parent)
    forget(folder)
    figures[ONE] = one = time_map(folder, queries, ways, kept, cores=1)
    figures[TWO] = two = time_map(folder, queries, ways[:TWO_CORES], kept, cores=2)
    place_map = open_map(folder)
    figures["ways"] = [
        {**asdict(way), ONE: alone, **judge(source, exact, searched(place_map, way, kept).search)}
        for way, alone in zip(ways, one.pop("ways"), strict=True)
    ]
    for way, both in zip(figures["ways"], two.pop("ways"), strict=False):
        way[TWO] = both


def _ways(effort: int, case: Case) -> list[Way]:
    """Return the ways that an index of that effort is searched, those that matter most first."""
    ways = [Way()] if case.index == "auto" else []  # as it was written
    if case.factory == "Flat":
        return ways or [Way(effort, "none", 0)]
    again = [("none", 0)]
    if "PQ" in case.factory:
        again += [("int8", RERANK), ("float16", RERANK), ("int8", RERANK // 4)]
    ways += [Way(effort, *each) for each in again]
    for share in EFFORTS if effort else ():
        ways += [Way(max(1, round(share * effort)), *each) for each in again[:2]]
    return ways


def _resident(case: Case, descriptors: Path, device: torch.device) -> dict[str, Any]:
    """Put the descriptors on the GPU, and measure searching them there."""
    source, work = _begin(case, descriptors)
    exact, queries = _exact(source, work, device), np.load(_timed(source, work))
    start = perf_counter()
    resident = ResidentMap(source.numbered(), (case.places, case.dimension), device)
    loaded = perf_counter()
    way = {"stored": "float16", GPU: milliseconds(lambda query: resident.search(query, K), queries)}
    return {"load_s": loaded - start, "ways": [way | judge(source, exact, resident.search)]}


def _begin(case: Case, descriptors: Path) -> tuple[Described, Path]:
    work = descriptors / "maps"
    work.mkdir(exist_ok=True)
    return Described(descriptors, case.places, case.dimension), work


def judge(
    source: Described,
    exact: Mapping[str, Places],
    search: Callable[[NDArray[np.float32], int], tuple[Any, Places]],
) -> dict[str, dict[str, float]]:
    """Return same@1, same@5, place@1, place@5 and lost@1 of each kind of queries, in per cent.

    Args:
        source: whose places are searched.
        exact: (M, 5) places that are the nearest, for each kind of queries.
        search: queries and k to similarities and (M, k) places.
    """
    figures = {}
    for kind, nearest in exact.items():
        rows, descriptors = source.queries(kind)
        _, found = search(descriptors, NS[-1])
        same = found == nearest[:, :1]
        right, best = (near(places, source.rows, rows, RIGHT_M) for places in (found, nearest))
        figures[kind] = {f"same@{n}": 100 * float(same[:, :n].any(axis=1).mean()) for n in NS}
        figures[kind] |= {f"place@{n}": 100 * float(right[:, :n].any(axis=1).mean()) for n in NS}
        figures[kind]["lost@1"] = 100 * float(best[:, 0].mean() - right[:, 0].mean())
    return figures


def _exact(source: Described, work: Path, device: torch.device) -> dict[str, Places]:
    """Return the (M, 5) nearest places of each kind of queries; found once."""
    nearest = {}
    for kind in (PHOTOGRAPHS, CROPS):
        file = work / f"nearest-{source.count}-{source.dimension}-{kind}.npy"
        if not file.is_file():
            save(file, source.nearest(source.queries(kind)[1], NS[-1], device))
        nearest[kind] = np.load(file, allow_pickle=False)
    return nearest


def _kept(source: Described, work: Path) -> Path:
    """Return the folder of folders with the descriptors, stored in each kind; written once."""
    folder = work / f"descriptors-{source.count}-{source.dimension}"
    if not folder.is_dir():
        with replacing(folder) as partial:
            files = [(partial / kind / DESCRIPTORS, kind) for kind in KINDS]
            for file, _ in files:
                file.parent.mkdir()
            writers = [DescriptorWriter(file, source.count, source.dimension, kind) for file, kind in files]
            for block in source.blocks():
                for writer in writers:
                    writer.append(block.descriptors)
            for writer in writers:
                writer.close()
    return folder


def _timed(source: Described, work: Path) -> Path:
    """Return a file of queries of both kinds, in any order."""
    file = work / f"queries-{source.dimension}.npy"
    together = np.concatenate([source.queries(kind)[1] for kind in (PHOTOGRAPHS, CROPS)])
    save(file, together[np.random.default_rng(0).permutation(len(together))[:TIMED]])
    return file


if __name__ == "__main__":
    run(bench_map)
