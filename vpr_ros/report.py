"""What people look at: a drive's picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vpr_ros.atomic_file import replacing_file
from vpr_ros.drive_metrics import RADII, FrameAnswer, errors, with_truth
from vpr_ros.geodesy import to_enu
from vpr_ros.geotagged import GeotaggedImages, Image
from vpr_ros.match_picture import side_by_side
from vpr_ros.place_map import PlaceMap

#: Colour-blind safe: right, close, wrong.
RIGHT, CLOSE, WRONG = "#009E73", "#E69F00", "#D55E00"
PAIRS = 6


def draw_drive(
    file: Path, images: GeotaggedImages, answers: Sequence[FrameAnswer], place_map: PlaceMap, title: str
) -> None:
    """Write a PNG: both tracks, every answer joined to its truth, and query | retrieved pairs.

    Args:
        file: written whole.
        images: the drive and its true geotags.
        answers: what came back; those without truth are not drawn.
        place_map: the map that was searched.
        title: in words.
    """
    known, rows = with_truth(answers)
    metres = errors(known, images.rows[rows])
    figure = Figure(figsize=(13, 8.4), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.25, 1))
    _draw_tracks(figure.add_subplot(grid[0]), images, known, rows, metres, place_map)
    chosen = _pairs(known, metres)
    if chosen:
        strip = grid[1].subgridspec(len(chosen), 1)
        for position, number in enumerate(chosen):
            axis, query = figure.add_subplot(strip[position]), int(rows[number])
            _draw_pair(axis, images.read(query), query, known[number], float(metres[number]), place_map)
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")


def colour_of(metres: float) -> str:
    """Return the colour of an answer that is this far from the truth."""
    return RIGHT if metres <= RADII[0] else CLOSE if metres <= RADII[1] else WRONG


def _draw_tracks(
    axis: Axes,
    images: GeotaggedImages,
    answers: Sequence[FrameAnswer],
    rows: NDArray[np.intp],
    metres: NDArray[np.float64],
    place_map: PlaceMap,
) -> None:
    datum = place_map.datum
    truth = to_enu(images.rows["latitude"], images.rows["longitude"], 0.0, datum)[:, :2]
    axis.plot(*place_map.enu[:, :2].T, ".", color="0.75", markersize=5, label="map: first drive")
    axis.plot(*truth.T, "-", color="#56B4E9", linewidth=2, label="truth: second drive")
    found = to_enu([a.latitude for a in answers], [a.longitude for a in answers], 0.0, datum)[:, :2]
    colours = [colour_of(error) for error in metres]
    accepted = np.array([answer.accepted for answer in answers], bool)
    # what nobody was told to believe is drawn faintly
    strength = np.where(accepted, 1.0, 0.35)
    if len(answers):
        joints = list(np.stack([truth[rows], found], axis=1))
        axis.add_collection(LineCollection(joints, colors=colours, linewidths=0.8, alpha=strength))
    for colour, label in (
        (RIGHT, f"answer within {RADII[0]:g} m"),
        (CLOSE, f"within {RADII[1]:g} m"),
        (WRONG, "wrong, or beyond the map"),
    ):
        mine = np.array([each == colour for each in colours], bool)
        axis.plot(*found[mine & accepted].T, "o", color=colour, markersize=4, label=f"{label}: {mine.sum()}")
        axis.plot(*found[mine & ~accepted].T, "o", color=colour, markersize=4, markerfacecolor="white")
    axis.plot(
        [], [], "o", color="0.3", markerfacecolor="white", markersize=4, label="hollow: not accepted as a fix"
    )
    axis.set(aspect="equal", xlabel="east, m", ylabel="north, m")
    axis.legend(loc="best", fontsize=8)
    axis.grid(color="0.92")


def _pairs(answers: Sequence[FrameAnswer], metres: NDArray[np.float64]) -> list[int]:
    """Return answers to show: spread evenly over the drive, then the worst of all, and of those accepted."""
    if not answers:
        return []
    accepted = np.flatnonzero([answer.accepted for answer in answers])
    worst = [int(np.argmax(metres))]
    if len(accepted):
        worst.append(int(accepted[np.argmax(metres[accepted])]))
    spread = np.linspace(0, len(answers) - 1, PAIRS - len(worst)).astype(int).tolist()
    return list(dict.fromkeys([*spread, *worst]))


def _draw_pair(
    axis: Axes, query: Image, row: int, answer: FrameAnswer, metres: float, place_map: PlaceMap
) -> None:
    place = answer.places[0]
    axis.imshow(side_by_side(query, place_map.image(place)))
    fate = "accepted" if answer.accepted else "not accepted"
    axis.set_title(
        f"frame {row} | place {place}: {metres:.1f} m, p {answer.probability:.2f}, {fate}",
        fontsize=9,
        color=colour_of(metres),
    )
    axis.set_axis_off()
