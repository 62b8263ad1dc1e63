"""Measure recall@N of a map: `python training/evaluate.py --map MAP --data DRIVE`."""

from __future__ import annotations

from contextlib import closing
from json import dumps
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.counted import Counted
from vpr_ros.batches import encode_table
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.errors import InputError
from vpr_ros.gallery import Matching, write_gallery
from vpr_ros.geotagged import within_radius
from vpr_ros.metrics import has_positive, recall_at
from vpr_ros.open_engine import open_engine
from vpr_ros.place_map import open_map
from vpr_ros.sources import read_sources

NS = (1, 2, 3, 4, 5, 10, 15, 20, 25)


def evaluate(
    map: Path,  # noqa: A002  the option is called --map
    data: Path | list[Path],
    weights: Path = DEFAULT_WEIGHTS,
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
) -> dict[str, float | None]:
    """Measure how often a place within the radius is among the first N retrieved.

    Queries taken where the map has no place within the radius are left out, and counted.

    Args:
        map: Folder of the map.
        data: The queries, with their true geotags: folders of images, bags or public data sets
            (docs/data-sets.md); several as '[a,b]'.
        weights: Weights file, or ONNX model, that the map was built with.
        session: Only the images of this session.
        rows: Only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one query to the next, in a bag; 0 takes every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        radius: Metres within which a retrieved place is right.
        views: Views of a panorama on the map, all at one position: only the best counts. 12 of Tokyo 24/7.
        other_times: Leave out places with the query's time stamp. Of Tokyo Time Machine.
        json: Write the figures to this file.
        gallery: Write a page of queries with what they retrieved first to this file.
        gallery_queries: Queries on it at most.
        device: auto, cuda or cpu.
    """
    if not radius > 0:
        raise InputError(f"--radius {radius:g}: expected a positive number of metres")
    if views < 1:
        raise InputError(f"--views {views}: expected at least 1")
    if gallery_queries < 1:
        raise InputError(f"--gallery-queries {gallery_queries}: expected at least 1")
    engine = open_engine(weights, device)
    place_map = open_map(map, engine.fingerprint)
    queries = read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)
    counted = Counted(place_map.places, max(NS), views, other_times)
    retrieved: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(queries)
    similarities: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(queries)
    with closing(encode_table(engine, queries, what="encoding queries")) as batches:
        for batch in batches:
            alike, places = place_map.search(batch.descriptors, counted.depth)
            for row, found, how in zip(batch.rows, places, alike, strict=True):
                retrieved[row] = counted.of(found, int(queries.rows["stamp"][row]))
                similarities[row] = how[np.isin(found, retrieved[row])]
    positives = within_radius(queries.rows, place_map.places, radius)
    mapped = np.flatnonzero(has_positive(positives))
    if not len(mapped):
        raise InputError(f"{data}: no query within {radius:g} m of a place of {map}: is it the same area?")
    recalls = recall_at([retrieved[row] for row in mapped], [positives[row] for row in mapped], NS)
    figures: dict[str, float | None] = {f"recall@{n}": recall for n, recall in recalls.items()}
    figures |= {"radius": radius, "queries": len(mapped), "unmapped": len(queries) - len(mapped)}
    figures |= {"places": len(place_map)}
    print(
        f"{len(mapped)} queries, {len(place_map)} places, {radius:g} m; {len(queries) - len(mapped)} unmapped"
    )
    print("  ".join(f"R@{n} {recalls[n]:.3f}" for n in NS))
    if json is not None:
        json.write_text(dumps(figures, indent=1))
    if gallery is not None:
        matching = Matching(queries, retrieved, similarities, positives, radius)
        title = f"Queries on map {map.resolve().name}"
        print(f"{gallery}: {write_gallery(gallery, matching, place_map, title, gallery_queries)} queries")
    return figures


if __name__ == "__main__":
    run(evaluate)
