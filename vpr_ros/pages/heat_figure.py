"""One picture of what networks look at: a column an image, a row a network, one colour scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import Image
from vpr_ros.images.small_picture import shrink
from vpr_ros.pages.heat_overlay import one_scale, overlay
from vpr_ros.pages.occlusion import Heat
from vpr_ros.pages.wording import end_of

#: Inches that a picture is high, its pixels across at most, and the letters of a name.
HEIGHT, ACROSS, LETTERS = 2.0, 640, 30


class Column(NamedTuple):
    """A picture, and its heat by the name of each network."""

    name: str
    image: Image
    heats: Mapping[str, Heat]


def draw_heats(file: Path, columns: Sequence[Column], meaning: str, signed: bool) -> None:
    """Write a PNG: the pictures in the top row, below them a row for each network.

    Args:
        file: written whole.
        columns: of one height each; all with heat by the same networks.
        meaning: what the colours are, in words.
        signed: whether heat may be below 0.
    """
    networks = list(columns[0].heats)
    colours = one_scale([heat for column in columns for heat in column.heats.values()], signed)
    pictures = [shrink(column.image, ACROSS) for column in columns]
    shapes = [picture.shape[1] / picture.shape[0] for picture in pictures]
    rows = 1 + len(networks)
    size = (HEIGHT * sum(shapes) + 1.5, (HEIGHT + 0.2) * rows)
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(rows, len(columns), squeeze=False, width_ratios=shapes)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for top, picture, column in zip(axes.T, pictures, columns, strict=True):
        top[0].imshow(picture)
        top[0].set_title(end_of(column.name, LETTERS), fontsize=9, parse_math=False)
        for axis, heat in zip(top[1:], column.heats.values(), strict=True):
            axis.imshow(overlay(picture, heat, colours))
    for axis, network in zip(axes[1:, 0], networks, strict=True):
        axis.set_ylabel(end_of(network, LETTERS), fontsize=9, parse_math=False)
    bar = figure.colorbar(colours, ax=axes[1:], aspect=15 * len(networks), pad=0.01)
    bar.set_label(meaning, fontsize=9)
    bar.outline.set_visible(False)
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=150, format="png")
