"""What a table of geotagged images holds, in a few lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpr_ros.drives.sessions import iso, sessions_of
from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.geotagged import Rows, ground_distance

#: Sessions that are told one by one.
_TOLD = 12


def facts_of(rows: Rows) -> dict[str, str]:
    """Return names and values of what there is: images, sessions, area, spacing, headings, stamps."""
    sessions = sessions_of(rows)
    steps = [ground_distance(rows[part[:-1]], rows[part[1:]]) for each in sessions for part in each.stretches]
    spacing = np.concatenate([*steps, np.empty(0)])
    known = rows["stamp"][rows["stamp"] != 0]
    centre, size = area_of(rows)
    facts = {
        "images": str(len(rows)),
        "area": f"{size[0]:.0f} m east to west, {size[1]:.0f} m north to south, about "
        f"https://www.openstreetmap.org/?mlat={centre.latitude:.5f}&mlon={centre.longitude:.5f}",
        "spacing": f"{np.median(spacing):.1f} m at the median" if len(spacing) else "unknown",
        "headings": _share(~np.isnan(rows["heading"])),
        "altitudes": _share(~np.isnan(rows["altitude"])),
        "stamps": _share(rows["stamp"] != 0),
    }
    if len(known):
        facts["stamps"] += f", {iso(int(known.min()))} to {iso(int(known.max()))}"
    facts["sessions"] = str(len(sessions))
    for each in sessions[:_TOLD]:
        when = f", from {iso(each.first)}" if each.first else ""
        facts[f"  {each.name or '(no name)'}"] = f"{len(each)} images, {each.metres:.0f} m{when}"
    if len(sessions) > _TOLD:
        facts["  and"] = f"{len(sessions) - _TOLD} more"
    return facts


def area_of(rows: Rows) -> tuple[Datum, NDArray[np.float64]]:
    """Return the median position, and the metres that the images reach east and north."""
    centre = Datum(float(np.median(rows["latitude"])), float(np.median(rows["longitude"])))
    return centre, np.ptp(metres_of(rows, centre), axis=0)


def metres_of(rows: Rows, datum: Datum) -> NDArray[np.float64]:
    """Return (N, 2) metres east and north of a datum."""
    return to_enu(rows["latitude"], rows["longitude"], np.nan, datum)[:, :2]


def _share(known: NDArray[np.bool_]) -> str:
    return "of all images" if known.all() else f"of {known.sum()} images" if known.any() else "none"
