"""What bench_map.py has measured, as a table and as points of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.measuring.descriptor_folder import CROPS, PHOTOGRAPHS
from vpr_ros.maps.manifest import DESCRIPTORS, INDEX
from vpr_ros.pages.markdown import markdown_table

#: Where searches were timed.
ONE, TWO, GPU = "one core", "two cores", "GPU"


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return all that was measured in Markdown."""
    heads = ["places", "dimensions", "index", "effort", "ranked again by", "bytes a place"]
    for kind in (PHOTOGRAPHS, CROPS):
        heads += [f"{kind}: same@1 / @5", "lost@1"]
    heads += ["p50 / p99 on one core, two, ms"]
    return markdown_table(heads, [row for figures in measured for row in _rows(figures)])


def _rows(figures: Mapping[str, Any]) -> list[list[str]]:
    """Return what was measured of one index, the cells of a row for each way to search it."""
    case = figures["case"]
    rows = []
    for way in figures["ways"]:
        size = bytes_of(figures, way)
        cells = [
            f"{case['places']}",
            f"{case['dimension']}",
            f"{case['index']} `{figures.get('factory', '')}`",
            f"{way.get('effort') or ''}",
            f"{way['rerank']} {way['stored']}" if way.get("rerank") else way["stored"],
            "" if size is None else f"{size:.0f}",
        ]
        for kind in (PHOTOGRAPHS, CROPS):
            judged = way[kind]
            cells += [f"{judged['same@1']:.1f} / {judged['same@5']:.1f}", f"{judged['lost@1']:+.1f}"]
        times = [way[where] for where in (ONE, TWO, GPU) if where in way]
        cells += [", ".join(f"{each['p50']:.2f} / {each['p99']:.2f}" for each in times)]
        rows.append(cells)
    return rows


def bytes_of(figures: Mapping[str, Any], way: Mapping[str, Any]) -> float | None:
    """Return the bytes a place of the index, and of the descriptors that it is ranked again by."""
    if INDEX not in figures.get("bytes", {}):
        return None
    dimension = figures["case"]["dimension"]
    stored = {"float16": 2 * dimension, "int8": dimension + 4, "none": 0}
    kept = figures["bytes"].get(DESCRIPTORS, 0) if way["stored"] == "map" else stored[way["stored"]]
    return float(figures["bytes"][INDEX] + kept)


def growth(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return in Markdown what the maps that are written by default take, the smallest first."""
    heads = ["places", "dimensions", "index", "places/s", "training, s", "most memory, MiB", "bytes a place"]
    heads += ["imports, s", "open, s", "first search, s", "first hypotheses, s", "memory then, MiB"]
    heads += ["p50 / p99 on one core, ms"]
    rows = []
    for figures in sorted(measured, key=lambda each: (each["case"]["dimension"], each["case"]["places"])):
        case, one = figures["case"], figures.get(ONE)
        if case["index"] != "auto" or one is None:
            continue
        cells = [f"{case['places']}", f"{case['dimension']}", f"`{figures['factory']}`"]
        cells += [f"{case['places'] / (figures['train_s'] + figures['write_s']):.0f}"]
        cells += [f"{figures['train_s']:.1f}", _mib(figures["memory_at_most_mib"])]
        cells += [f"{sum(figures['bytes'].values()):.0f}"]
        cells += [
            f"{one[f'{part}_s']:.3f}" for part in ("import", "open", "first_search", "first_hypotheses")
        ]
        taken = figures["ways"][0][ONE]
        cells += [_mib(one["memory_mib"]), f"{taken['p50']:.2f} / {taken['p99']:.2f}"]
        rows.append(cells)
    return markdown_table(heads, rows)


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def points(measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what `draw_loss` draws: the indices over the most places, at their own effort and re-ranking."""
    most = max(figures["case"]["places"] for figures in measured)
    drawn = []
    for figures in measured:
        case, ways = figures["case"], figures["ways"]
        chosen = [way for way in ways if way["stored"] != "map"] or [{**ways[0], "stored": "none"}]
        again = max(way.get("rerank") or 0 for way in chosen)
        for way in chosen:
            size = bytes_of(figures, way)
            own = way.get("effort") == chosen[0].get("effort") and way.get("rerank") in (None, 0, again)
            if case["places"] < most or size is None or not own:
                continue
            both = [way[kind] for kind in (PHOTOGRAPHS, CROPS)]
            place, same = np.mean([[judged["lost@1"], 100 - judged["same@1"]] for judged in both], axis=0)
            index = _chosen(figures["factory"]) if case["index"] == "auto" else case["index"]
            loss = {"stored": way["stored"], "bytes": size, "place": place, "same": same}
            drawn.append({**case, "index": index, **loss})
    return drawn


def _chosen(factory: str) -> str:
    """Return the word for what `auto` has chosen."""
    _, lists, size = factory.rpartition(",PQ")
    return f"ivfpq{size}" if lists else factory.lower()
