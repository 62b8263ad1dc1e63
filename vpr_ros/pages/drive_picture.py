"""A drive in one picture, for a README: the tracks, and some matches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import GeotaggedImages, Image
from vpr_ros.pages.match_picture import side_by_side
from vpr_ros.pages.track_chart import LEGEND, colour_of, draw_track
from vpr_ros.place_map import PlaceMap
from vpr_ros.replays.answers import FrameAnswer
from vpr_ros.replays.frame_arrays import FrameArrays, as_arrays

PAIRS = 6
DOT: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": ""}


def draw_drive(
    file: Path, images: GeotaggedImages, answers: Sequence[FrameAnswer], place_map: PlaceMap, title: str
) -> None:
    """Write a PNG: both tracks, every answer joined to its truth, and query | retrieved pairs.

    Args:
        file: written whole.
        images: the drive.
        answers: what came back; those without truth are not drawn.
        place_map: the map that was searched.
        title: in words.
    """
    frames = as_arrays(answers)
    figure = Figure(figsize=(13, 8.4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.25, 1))
    axis = figure.add_subplot(grid[0])
    draw_track(axis, frames, place_map.enu, place_map.datum)
    axis.grid(color="0.92")
    axis.legend(handles=_legend(), loc="best", fontsize=8)
    chosen = _pairs(frames)
    if chosen:
        strip = grid[1].subgridspec(len(chosen), 1)
        for position, number in enumerate(chosen):
            _draw_pair(figure.add_subplot(strip[position]), frames.answers[number], images, place_map)
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _legend() -> list[Line2D]:
    marks = [
        Line2D([], [], color=colour, label=words, **({"linewidth": 2.5} if "truth" in words else DOT))
        for words, colour in LEGEND.items()
    ]
    hollow = Line2D([], [], color="0.3", markerfacecolor="white", label="not accepted as a fix", **DOT)
    return [*marks, hollow]


def _pairs(frames: FrameArrays) -> list[int]:
    """Return frames to show: spread evenly over the drive, then the worst of all, and of those accepted."""
    judged = np.flatnonzero(frames.answered & ~np.isnan(frames.error))
    if not len(judged):
        return []
    fixes = judged[frames.accepted[judged]]
    worst = [int(each[np.argmax(frames.error[each])]) for each in (judged, fixes) if len(each)]
    spread = judged[np.linspace(0, len(judged) - 1, PAIRS - len(worst)).astype(int)].tolist()
    return list(dict.fromkeys([*spread, *worst]))


def _draw_pair(axis: Axes, answer: FrameAnswer, images: GeotaggedImages, place_map: PlaceMap) -> None:
    place = answer.places[0]
    axis.imshow(side_by_side(_read(images, answer.row), place_map.image(place)))
    fate = "accepted" if answer.accepted else "not accepted"
    axis.set_title(
        f"frame {answer.row} | place {place}: {answer.error:.1f} m, p {answer.probability:.2f}, {fate}",
        fontsize=9,
        color=colour_of(answer.error),
    )
    axis.set_axis_off()


def _read(images: GeotaggedImages, row: int) -> Image:
    try:
        return images.read(row)
    except (InputError, OSError):
        return np.full((240, 320, 3), 200, np.uint8)
