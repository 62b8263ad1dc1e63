"""A fresh process that opens a map and answers, and tells what that took: `time_map`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.hypotheses import Belief, gather
from vpr_ros.maps.index import set_effort
from vpr_ros.maps.stored_descriptors import DescriptorFile
from vpr_ros.metrics import percentiles
from vpr_ros.place_map import PlaceMap, open_map

Queries = NDArray[np.float32]
#: Places that the localiser retrieves for an image.
K = 20
#: Queries before those that are timed; and seconds after which no further one is.
WARM_UP, SECONDS = 20, 10.0
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Way:
    """One way to search an index.

    Args:
        effort: lists that are searched, or candidates that a graph keeps; None for what the map says.
        stored: how the descriptors are kept that candidates are ranked again by: none, float16, int8, or map,
            those of the map itself.
        rerank: how many candidates are; None for what the map says.
    """

    effort: int | None = None
    stored: str = "map"
    rerank: int | None = None


def searched(place_map: PlaceMap, way: Way, descriptors: Path) -> PlaceMap:
    """Return a map that is searched that way; its index is the same, and set.

    Args:
        place_map: to be searched.
        way: to search it.
        descriptors: folder of the folders of stored descriptors, by their kind.
    """
    manifest = place_map.manifest
    set_effort(place_map.index, manifest.effort if way.effort is None else way.effort)
    stored = place_map.stored
    if way.stored != "map":
        stored = None if way.stored == "none" else DescriptorFile(descriptors / way.stored)
    rerank = manifest.rerank if way.rerank is None else way.rerank
    return replace(place_map, stored=stored, manifest=replace(manifest, rerank=rerank if stored else 0))


def time_map(
    folder: Path, queries: Path, ways: Sequence[Way], descriptors: Path, cores: int
) -> dict[str, Any]:
    """Open a map and search it in a process of its own, which has so many cores.

    Args:
        folder: of the map.
        queries: file of (M, P) descriptors, asked one by one.
        ways: that it is searched, one after the other.
        descriptors: as for `searched`.
        cores: of the processor.

    Returns:
        Seconds to start Python and import, to open, to the first hypotheses; MiB before, then, and of it what
        the system can drop; and for each way the milliseconds of a search.
    """
    request = {
        "folder": str(folder.resolve()),
        "queries": str(queries.resolve()),
        "descriptors": str(descriptors.resolve()),
        "cores": cores,
    }
    request |= {"ways": [asdict(way) for way in ways], "begun": time.monotonic()}
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, json.dumps(request)],
        env=os.environ | threads,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise InputError(f"{folder}: the process that searches it ended with {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def forget(folder: Path) -> None:
    """Have the system drop what it holds of a folder's files, so that they are read from the disk again."""
    for file in folder.iterdir():
        opened = os.open(file, os.O_RDONLY)
        os.fsync(opened)  # what is not written yet is not dropped
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(opened)


def forget_peak() -> None:
    """Let VmHWM be the most memory from now on, where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory(what: str = "VmRSS") -> float | None:
    """Return MiB of this process: VmRSS, VmHWM (at most), RssFile; None where the system does not tell."""
    lines = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:")]
    return int(lines[0].split()[1]) / 1024 if lines else None


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    imported = time.monotonic()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["cores"]])
    queries = np.load(request["queries"])
    bare = memory()
    start = time.monotonic()
    place_map = open_map(Path(request["folder"]))
    opened = time.monotonic()
    similarities, places = place_map.search(queries[:1], K)
    found = time.monotonic()
    gather(place_map.scores_of(similarities[0], queries[0]), places[0], place_map, Belief())
    answered = time.monotonic()
    answer: dict[str, Any] = {
        "import_s": imported - request["begun"],
        "open_s": opened - start,
        "first_search_s": found - opened,
        "first_hypotheses_s": answered - found,
        "cold_start_s": imported - request["begun"] + answered - start,
        "bare_mib": bare,
        "memory_mib": memory(),
        "of_files_mib": memory("RssFile"),
        "ways": [],
    }
    for way in request["ways"]:
        chosen = searched(place_map, Way(**way), Path(request["descriptors"]))
        answer["ways"].append(milliseconds(partial(search_once, chosen), queries))
    answer["memory_after_mib"] = memory()
    return answer


def search_once(place_map: PlaceMap, query: Queries) -> object:
    """Search for a (1, P) descriptor as the localiser does."""
    return place_map.search(query, K)


def milliseconds(search: Callable[[Queries], object], queries: Queries) -> dict[str, Any]:
    """Return how long a search takes, of (M, P) queries one by one."""
    taken: list[float] = []
    begun = time.perf_counter()
    for number in range(WARM_UP + len(queries)):
        start = time.perf_counter()
        if taken and start - begun > SECONDS:
            break
        search(queries[None, number % len(queries)])
        taken.append(1e3 * (time.perf_counter() - start))
    timed = taken[WARM_UP:] or taken  # where a search takes a second there is no warming up
    return {**percentiles(timed, (50, 99)), "queries": len(timed)}


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
