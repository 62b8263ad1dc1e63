"""A run of the comparison: weights, maps and figures of its rows, each kept when it is done."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from training.comparing.parts import Division
from training.comparing.rows import Row
from training.comparing.table import NS
from training.comparing.weights import Recipe, weights_of
from training.measuring.counted import Counted
from training.measuring.query_cost import TIMED_IMAGES, encoding_ms, search_ms
from training.measuring.retrieval import retrieve
from vpr_ros.engines.batches import encode_table
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import GeotaggedImages, within_radius
from vpr_ros.maps.manifest import MANIFEST
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.metrics import has_positive, recall_at
from vpr_ros.open_engine import AnyEngine, open_engine
from vpr_ros.place_map import PlaceMap, open_map

#: Times that each timed query is searched for.
SEARCHES = 10


@dataclass(frozen=True)
class Run:
    """One part held out, and one seed.

    Attributes:
        folder: of its weights, maps and figures.
        end: that is held out.
        seed: of everything random.
    """

    folder: Path
    end: str
    seed: int

    def figures(self, row: Row) -> Path:
        """Return the file of a row's figures, which is there when they are."""
        return self.folder / f"{row.name}.json"

    def map(self, row: Row) -> Path:
        """Return the folder of a row's map."""
        return self.folder / f"{row.name}-map"


@dataclass(frozen=True)
class Job:
    """Rows of one method in a run."""

    run: Run
    rows: tuple[Row, ...]


def learn(job: Job, division: Division, recipe: Recipe, timed: Run, device: str) -> None:
    """Learn what a job's rows want and keep their figures; maps of the run that is timed stay.

    Args:
        job: to do; what is done of it is not done again.
        division: of the data.
        recipe: of the weights.
        timed: the run whose maps `time_query` searches.
        device: auto, cuda or cpu.
    """
    run = job.run
    parts = cache(partial(division.parts, run.end))
    for row in job.rows:
        if run.figures(row).is_file():
            continue
        weights = weights_of(row, run.folder, parts, recipe, run.seed, device)
        engine = _engine(row, weights, device)
        place_map = _open_map(run.map(row), engine, parts().database)
        figures = _measure(engine, place_map, parts().queries, division.radius)
        write_json(run.figures(row), {"end": run.end, "seed": run.seed, **figures})
        if run != timed:
            shutil.rmtree(run.map(row))


def time_query(row: Row, run: Run, division: Division, recipe: Recipe, device: str) -> dict[str, float]:
    """Return the milliseconds of a row's query, `encode_ms` and `search_ms`, and remove the map."""
    parts = cache(partial(division.parts, run.end))
    engine = _engine(row, weights_of(row, run.folder, parts, recipe, run.seed, device), device)
    place_map = _open_map(run.map(row), engine, parts().database)
    first = parts().queries.select(range(min(TIMED_IMAGES, len(parts().queries))))
    with closing(encode_table(engine, first, quiet=True)) as batches:
        encoded = next(batches)
    images = [first.read(number) for number in encoded.rows.tolist()]
    asked = np.tile(encoded.descriptors, (SEARCHES, 1))
    figures = {"encode_ms": encoding_ms(engine, images), "search_ms": search_ms(place_map, asked)}
    shutil.rmtree(run.map(row))
    return figures


def read_json(file: Path) -> Any:
    """Return what a file holds."""
    return json.loads(file.read_text())


def write_json(file: Path, value: object) -> None:
    """Write a file, whole or not at all."""
    with replacing_file(file) as partial_file:
        partial_file.write_text(json.dumps(value, indent=1))


def _engine(row: Row, weights: Path, device: str) -> AnyEngine:
    return open_engine(weights, device if row.trunk else "cpu")  # SIFT has no other


def _open_map(folder: Path, engine: AnyEngine, database: GeotaggedImages) -> PlaceMap:
    """Return a map that is searched exactly, built now unless it is there."""
    if not (folder / MANIFEST).is_file():
        source = InMemory(engine.dimension)
        with closing(encode_table(engine, database, what="encoding database")) as batches:
            for batch in batches:
                source.add(batch.descriptors, database.rows[batch.rows])
        write_map(folder, source, engine.fingerprint, geotag_std=5.0, index="flat", progress=False)
    return open_map(folder, engine.fingerprint)


def _measure(
    engine: AnyEngine, place_map: PlaceMap, queries: GeotaggedImages, radius: float
) -> dict[str, Any]:
    positives = within_radius(queries.rows, place_map.places, radius)
    (found,), _, _ = retrieve(engine, [(place_map, Counted(place_map.places, max(NS)))], queries)
    mapped = np.flatnonzero(has_positive(positives)).tolist()
    recalls = recall_at([found.places[row] for row in mapped], [positives[row] for row in mapped], NS)
    return {
        "recalls": list(recalls.values()),
        "queries": len(mapped),
        "places": len(place_map),
        "dimension": engine.dimension,
    }
