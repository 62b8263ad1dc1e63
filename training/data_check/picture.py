"""A picture of where geotagged images were taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.data_check.facts import area_of, metres_of
from vpr_ros.drives.sessions import sessions_of
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import Rows

#: Sessions that get a colour of their own and a line in the legend.
_NAMED = 10
#: Headings drawn, about.
_ARROWS = 200


def draw_data(file: Path, rows: Rows, title: str) -> None:
    """Write a PNG of the sessions from above, in metres about their middle; lines break at gaps.

    Args:
        file: written whole.
        rows: one or more.
        title: in words.
    """
    centre, _ = area_of(rows)
    figure = Figure(figsize=(8, 8), layout="constrained")
    axis = figure.subplots()
    sessions = sessions_of(rows)
    for number, each in enumerate(sessions):
        colour = f"C{number}" if number < _NAMED else "grey"
        label = each.name or "(no name)"
        for stretch in each.stretches:
            axis.plot(
                *metres_of(rows[stretch], centre).T,
                ".-",
                color=colour,
                linewidth=0.6,
                markersize=3,
                label=label if number < _NAMED else None,
                rasterized=True,
            )
            label = ""  # once is enough
    known = rows[~np.isnan(rows["heading"])]
    if len(known):
        known = known[:: max(1, len(known) // _ARROWS)]
        angle = np.radians(known["heading"])
        arrows = *metres_of(known, centre).T, np.sin(angle), np.cos(angle)
        axis.quiver(*arrows, color="#1a1a1a", alpha=0.4, width=0.002)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xlabel="east, m", ylabel="north, m", title=title)
    axis.legend(loc="best", fontsize=8)
    with replacing_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")
