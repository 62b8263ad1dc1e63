"""One picture of what a smaller map costs in recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vpr_ros.files.atomic_file import replacing_file

#: What each index is drawn as, by the beginning of its name.
MARKERS = {"flat": "*", "ivfpq": "o", "ivf": "s", "hnsw": "^", "": "x"}
#: How descriptors that are ranked again are stored.
COLOURS = {"none": "tab:red", "int8": "tab:blue", "float16": "tab:green"}
#: What is drawn, a row of panels each.
LOST = {
    "place": "place@1, points lost against exact search",
    "same": "same@1, points below 100",
}


def draw_loss(file: Path, points: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write a PNG of the recall lost against the bytes of a place, a column of panels a dimension.

    Args:
        file: written whole.
        points: one or more, each with `dimension`, `index` (flat, ivf, ivfpq64, ...), `stored`, `bytes` a
            place, and the points of LOST.
        title: in words.
    """
    dimensions = sorted({point["dimension"] for point in points})
    figure = Figure(figsize=(4.5 * len(dimensions), 8), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(2, len(dimensions), sharex="col", sharey="row", squeeze=False)
    for column, dimension in zip(panels.T, dimensions, strict=True):
        for axis, key in zip(column, LOST, strict=True):
            for point in (point for point in points if point["dimension"] == dimension):
                _draw(axis, point, key)
            axis.axhline(1.0, color="grey", linestyle="--", linewidth=0.8)
            axis.set_xscale("log")
            axis.grid(alpha=0.3)
        column[0].set_title(f"{dimension} dimensions")
        column[1].set_xlabel("bytes a place, of index and stored descriptors")
        column[1].set_yscale("symlog", linthresh=1.0)
    for axis, label in zip(panels[:, 0], LOST.values(), strict=True):
        axis.set_ylabel(label)
    for stored, colour in COLOURS.items():
        label = "not ranked again" if stored == "none" else f"ranked again by {stored}"
        panels[0, -1].plot([], [], "o", color=colour, label=label)
    panels[0, -1].legend()
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _draw(axis: Axes, point: Mapping[str, Any], key: str) -> None:
    shape = next(shape for name, shape in MARKERS.items() if point["index"].startswith(name))
    axis.plot(point["bytes"], point[key], shape, color=COLOURS[point["stored"]], alpha=0.8)
    if point["stored"] == "none":  # the same index, ranked again, stands right of it
        at = (point["bytes"], point[key])
        axis.annotate(point["index"], at, (5, 5), textcoords="offset points", fontsize="small")
