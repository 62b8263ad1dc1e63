"""One figure of recall@N, a curve a method, in the manner of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from training.comparing.rows import Row
from vpr_ros.files.atomic_file import replacing_file

#: Of the local features; what is hand-crafted has none.
COLOURS = {
    None: "black",
    "alexnet": "tab:blue",
    "vgg16": "tab:red",
    "resnet18": "tab:green",
    "resnet50": "tab:purple",
}
#: Of the aggregation, whole and whitened.
MARKERS = {
    ("max", False): "x",
    ("netvlad", False): "o",
    ("netvlad", True): "*",
    ("vlad", False): "s",
    ("vlad", True): "D",
    ("fisher", False): "^",
    ("fisher", True): "v",
}
_SIZES = {"*": 11, "x": 7}


def draw_recalls(file: Path, recalls: Mapping[Row, Mapping[int, float]]) -> None:
    """Write a PNG of recall@N in percent over N.

    A colour a trunk; dashed off the shelf, solid where it is trained, dotted hand-crafted; hollow markers for
    descriptors that are not whitened.

    Args:
        file: written whole.
        recalls: for each row its recall, 0 to 1, by N.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    axis = figure.subplots()
    for row, recall in recalls.items():
        marker, colour = MARKERS[row.aggregate, row.whitened], COLOURS[row.trunk]
        axis.plot(
            list(recall),
            [100 * each for each in recall.values()],
            color=colour,
            linestyle="-" if row.trained else "--" if row.trunk else ":",
            marker=marker,
            markersize=_SIZES.get(marker, 6),
            markerfacecolor=colour if row.whitened else "white",
            markevery=[number for number, n in enumerate(recall) if n in (1, 2, 3, 4, 5) or n % 5 == 0],
            linewidth=1.4,
            label=f"{row.local}: {row.label}",
        )
    axis.set_xlabel("N, places retrieved")
    axis.set_ylabel("recall@N, %")
    axis.set_xlim(left=0)
    axis.set_ylim(top=101)
    axis.xaxis.set_major_locator(MultipleLocator(5))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small", handlelength=3.5)
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")
