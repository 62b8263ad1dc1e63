"""Charts of how the places of a map lie."""

from __future__ import annotations

from typing import cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]

BARS, EDGE = "#0072B2", "white"
#: Bars of a histogram, and of a compass card.
BINS, SECTORS = 40, 24
#: The share of values that stand before the last bar, and where it ends at least.
MOST, SHORTEST = 0.99, 0.01


def draw_spread(figure: Figure, values: Array, label: str) -> None:
    """Draw a histogram of values from 0 on; those far above the others stand in its last bar.

    Args:
        figure: to draw on.
        values: any number of them; NaN are left out.
        label: of what.
    """
    axis = figure.add_subplot()
    values = values[~np.isnan(values)]
    end = max(1.2 * float(np.quantile(values, MOST)), SHORTEST) if len(values) else 1.0
    if beyond := int((values > end).sum()):
        label += f"; {beyond} farther in the last bar"
    edges = np.linspace(0, end, BINS + 1).tolist()
    axis.hist(np.minimum(values, end), edges, color=BARS, edgecolor=EDGE, linewidth=0.4)
    axis.set(xlim=(0, end), xlabel=label, ylabel="places")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(visible=False, axis="x")


def draw_compass(figure: Figure, headings: Array) -> None:
    """Draw how many places look which way, degrees clockwise from north."""
    axis = cast(PolarAxes, figure.add_subplot(projection="polar"))
    width = 360.0 / SECTORS
    known = headings[~np.isnan(headings)]
    counts = np.bincount(np.round(known / width).astype(int) % SECTORS, minlength=SECTORS)
    axis.set_theta_zero_location("N")
    axis.set_theta_direction(-1)
    axis.bar(
        np.radians(width * np.arange(SECTORS)),
        counts,
        np.radians(width),
        color=BARS,
        edgecolor=EDGE,
        linewidth=0.4,
    )
    axis.set_xticks(np.radians([0, 90, 180, 270]), ["N", "E", "S", "W"])
    axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}" if count else ""))
