"""A drive seen from above: the map, the truth, and every answer joined to it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.maps.statistics import evenly
from vpr_ros.metrics import RIGHT_M
from vpr_ros.replays.frame_arrays import FrameArrays
from vpr_ros.replays.reliability import ellipse_scale
from vpr_ros.replays.time_to_localise import kidnappings

Array = NDArray[np.float64]

#: Colour-blind safe: right, close, wrong.
RIGHT, CLOSE, WRONG = "#009E73", "#E69F00", "#D55E00"
MAP, TRUTH, UNMAPPED = "#b8b8b8", "#56B4E9", "#CC79A7"
#: Metres within which an answer is drawn as right; within RIGHT_M it is close.
CLOSE_M = 10.0
#: Ellipses drawn at most, their probability, and the frames above which a chart holds pixels, not shapes.
ELLIPSES, ELLIPSE_LEVEL, MANY = 60, 0.95, 3000
#: What the colours mean, for a legend.
LEGEND = {
    "place of the map": MAP,
    "truth": TRUTH,
    f"truth more than {RIGHT_M:g} m from the map": UNMAPPED,
    f"answer within {CLOSE_M:g} m": RIGHT,
    f"within {RIGHT_M:g} m": CLOSE,
    "farther": WRONG,
}


def colour_of(metres: float) -> str:
    """Return the colour of an answer that is this far from the truth."""
    return RIGHT if metres <= CLOSE_M else CLOSE if metres <= RIGHT_M else WRONG


def draw_track(axis: Axes, frames: FrameArrays, places: Array, datum: Datum) -> None:
    """Draw a drive; what was not accepted as a fix is hollow and faint.

    Args:
        axis: to draw on.
        frames: those without truth or answer are left out.
        places: (M, 2) or (M, 3) metres of the map's places about the datum; may be empty.
        datum: origin of the picture.
    """
    truth = to_enu(frames.truth[:, 0], frames.truth[:, 1], np.nan, datum)[:, :2]
    axis.plot(*places[:, :2].T, ".", color=MAP, markersize=4, rasterized=len(places) > MANY)
    shown = truth.copy()
    shown[kidnappings(frames)] = np.nan  # nobody drove there
    axis.plot(*shown.T, "-", color=TRUTH, linewidth=2.5)
    shown[~(frames.known & ~frames.mapped)] = np.nan
    axis.plot(*shown.T, "-", color=UNMAPPED, linewidth=2.5)
    found = to_enu(frames.position[:, 0], frames.position[:, 1], np.nan, datum)[:, :2]
    _draw_answers(axis, frames, truth, found)
    axis.add_collection(
        LineCollection(
            list(_ellipses(frames, found)), colors="#1a1a1a", linewidths=0.6, alpha=0.4, zorder=1.9
        )
    )
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xlabel="east, m", ylabel="north, m")


def _draw_answers(axis: Axes, frames: FrameArrays, truth: Array, found: Array) -> None:
    many = len(frames) > MANY
    judged = frames.answered & ~np.isnan(frames.error)
    for colour, closest, farthest in (
        (RIGHT, -1.0, CLOSE_M),
        (CLOSE, CLOSE_M, RIGHT_M),
        (WRONG, RIGHT_M, np.inf),
    ):
        mine = judged & (frames.error > closest) & (frames.error <= farthest)
        for chosen, strength, face in (
            (mine & ~frames.accepted, 0.25, "white"),
            (mine & frames.accepted, 1.0, colour),
        ):
            joints = list(np.stack([truth[chosen], found[chosen]], axis=1))
            axis.add_collection(
                LineCollection(joints, colors=colour, linewidths=0.8, alpha=strength, rasterized=many)
            )
            axis.plot(
                *found[chosen].T,
                "o",
                color=colour,
                markersize=3.5,
                markerfacecolor=face,
                alpha=max(strength, 0.5),
                rasterized=many,
            )


def _ellipses(frames: FrameArrays, centres: Array) -> Array:
    """Return the outlines of accepted fixes' ellipses, (at most ELLIPSES, 33, 2) metres."""
    lines = [
        (number, [[answer.var_east, answer.cov_east_north], [answer.cov_east_north, answer.var_north]])
        for number, answer in enumerate(frames.answers)
        if answer.accepted and np.isfinite(frames.squared_sigmas[number])
    ]
    chosen = evenly(len(lines), ELLIPSES).tolist()
    if not chosen:
        return np.empty((0, 33, 2))
    values, vectors = np.linalg.eigh(np.array([lines[each][1] for each in chosen], np.float64))
    angle = np.linspace(0, 2 * np.pi, 33)
    circle = ellipse_scale(ELLIPSE_LEVEL) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outlines: Array = np.einsum("nij,nj,kj->nki", vectors, np.sqrt(np.maximum(values, 0.0)), circle)
    return outlines + centres[[lines[each][0] for each in chosen], None]
