"""Measure recall@N of maps: `python training/evaluate.py --map MAP --data DRIVE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.measuring.counted import Counted
from training.measuring.query_cost import TIMED_IMAGES, bytes_a_place, encoding_ms, search_ms
from training.measuring.retrieval import Found, retrieve
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, within_radius
from vpr_ros.metrics import has_positive, recall_at
from vpr_ros.open_engine import AnyEngine, open_engine
from vpr_ros.pages.gallery import Matching, write_gallery
from vpr_ros.pages.markdown import markdown_table
from vpr_ros.place_map import PlaceMap, open_map
from vpr_ros.sources import paths_of, read_sources

NS = (1, 2, 3, 4, 5, 10, 15, 20, 25)
#: Those of them that a table of several maps has.
COLUMNS = (1, 5, 10, 20)


@dataclass(frozen=True, eq=False)
class Case:
    """A map that is measured.

    Attributes:
        name: the folder, as it was given.
        weights: as they were given.
        place_map: the map.
        counted: which of its places count.
        positives: for each query the numbers of the places within the radius.
    """

    name: Path
    weights: Path
    place_map: PlaceMap
    counted: Counted
    positives: list[NDArray[np.intp]]


def evaluate(
    map: Path | list[Path],  # noqa: A002  the option is called --map
    data: Path | list[Path],
    weights: Path | list[Path] = DEFAULT_WEIGHTS,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    spacing: float = 0.0,
    max_fix_gap: float = 2.0,
    radius: float = 25.0,
    views: int = 1,
    other_times: bool = False,
    json: Path | None = None,
    gallery: Path | None = None,
    gallery_queries: int = 60,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Measure how often a place within the radius is among the first N retrieved; of several maps in a table.

    Queries taken where the map has no place within the radius are left out, and counted.

    Args:
        map: Folder of the map; several as '[a,b]'.
        data: The queries, with their true geotags: folders of images, bags or public data sets
            (docs/data-sets.md); several as '[a,b]'.
        weights: Weights file, or ONNX model, that the map was built with; of several maps one for all, or
            '[a,b]', one for each.
        session: Only the images of this session.
        rows: Only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one query to the next, in a bag; 0 takes every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        radius: Metres within which a retrieved place is right.
        views: Views of a panorama on the map, all at one position: only the best counts. 12 of Tokyo 24/7.
        other_times: Leave out places with the query's time stamp. Of Tokyo Time Machine.
        json: Write the figures to this file, a list with an entry for each map.
        gallery: Write a page of queries with what they retrieved first to this file; of one map.
        gallery_queries: Queries on it at most.
        device: auto, cuda or cpu.
    """
    if not radius > 0:
        raise InputError(f"--radius {radius:g}: expected a positive number of metres")
    if views < 1:
        raise InputError(f"--views {views}: expected at least 1")
    maps, files = paths_of(map), paths_of(weights)
    if gallery_queries < 1:
        raise InputError(f"--gallery-queries {gallery_queries}: expected at least 1")
    if gallery is not None and len(maps) > 1:
        raise InputError(f"--gallery {gallery}: expected one --map, whose places it shows")
    if len(files) == 1:
        files = files * len(maps)
    if not maps or len(files) != len(maps):
        raise InputError(
            f"--weights: {len(files)} for {len(maps)} maps: expected one for all, or one for each"
        )
    engines = {file: open_engine(file, device) for file in dict.fromkeys(files)}
    opened = [open_map(name, engines[file].fingerprint) for name, file in zip(maps, files, strict=True)]
    queries = read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)
    cases = []
    for name, file, place_map in zip(maps, files, opened, strict=True):
        positives = within_radius(queries.rows, place_map.places, radius)
        if not has_positive(positives).any():
            raise InputError(
                f"{data}: no query within {radius:g} m of a place of {name}: is it the same area?"
            )
        cases.append(
            Case(name, file, place_map, Counted(place_map.places, max(NS), views, other_times), positives)
        )
    measured: dict[Case, tuple[dict[str, Any], Found]] = {}
    for file, engine in engines.items():
        measured |= _measure(engine, [case for case in cases if case.weights == file], queries)
    figures = [{**measured[case][0], "radius": radius} for case in cases]
    print("\n".join(_lines(figures[0])) if len(figures) == 1 else table(figures))
    if json is not None:
        json.write_text(dumps(figures, indent=1))
    if gallery is not None:
        (case,) = cases
        matching = Matching(queries, *measured[case][1], case.positives, radius)
        title = f"Queries on map {case.name.resolve().name}"
        written = write_gallery(gallery, matching, case.place_map, title, gallery_queries)
        print(f"{gallery}: {written} queries")
    return figures


def _measure(
    engine: AnyEngine, cases: Sequence[Case], queries: GeotaggedImages
) -> dict[Case, tuple[dict[str, Any], Found]]:
    """Encode the queries once and search for them in each map; return the figures, and what was found."""
    found, encoded, asked = retrieve(engine, [(case.place_map, case.counted) for case in cases], queries)
    images = [queries.read(row) for row in encoded[:TIMED_IMAGES]]
    milliseconds = encoding_ms(engine, images) if images else None
    measured = {}
    for case, answers in zip(cases, found, strict=True):
        cost = {"encode_ms": milliseconds, "search_ms": search_ms(case.place_map, asked) if images else None}
        measured[case] = _figures(case, answers.places) | cost, answers
    return measured


def _figures(case: Case, retrieved: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    place_map, positives = case.place_map, case.positives
    mapped = np.flatnonzero(has_positive(positives))
    recalls = recall_at([retrieved[row] for row in mapped], [positives[row] for row in mapped], NS)
    return {
        "map": str(case.name),
        "weights": str(case.weights),
        **{f"recall@{n}": recall for n, recall in recalls.items()},
        "queries": len(mapped),
        "unmapped": len(positives) - len(mapped),
        "places": len(place_map),
        "dimension": place_map.manifest.dimension,
        "bytes_a_place": bytes_a_place(place_map),
    }


def _lines(figures: dict[str, Any]) -> list[str]:
    """Return what is said of one map."""
    return [
        "{queries} queries, {places} places, {radius:g} m; {unmapped} unmapped".format(**figures),
        "  ".join(f"R@{n} {figures[f'recall@{n}']:.3f}" for n in NS),
        "{bytes_a_place:.0f} bytes a place; {} ms to encode, {} to search".format(
            *_milliseconds(figures), **figures
        ),
    ]


def _milliseconds(figures: dict[str, Any]) -> list[str]:
    both = figures["encode_ms"], figures["search_ms"]
    return ["-" if each is None else f"{each:.2g}" if each < 10 else f"{each:.0f}" for each in both]


def table(measured: Sequence[dict[str, Any]]) -> str:
    """Return a row of a Markdown table for each map."""
    heads = ["map", "weights", "queries", "unmapped", "places", "dimensions", "bytes a place"]
    heads += ["encode, ms", "search, ms", *(f"R@{n}" for n in COLUMNS)]
    rows = []
    for each in measured:
        cells = [each["map"], Path(each["weights"]).stem]
        cells += [f"{each[name]}" for name in ("queries", "unmapped", "places", "dimension")]
        cells += [f"{each['bytes_a_place']:.0f}", *_milliseconds(each)]
        cells += [f"{100 * each[f'recall@{n}']:.1f}" for n in COLUMNS]
        rows.append(cells)
    return markdown_table(heads, rows)


if __name__ == "__main__":
    run(evaluate)
