"""What the positions of a map tell, in words and tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from vpr_ros.drives.sessions import iso
from vpr_ros.geotagged import Rows
from vpr_ros.maps.survey import NEAR, Drive, Gap, Survey, seen_both_ways
from vpr_ros.pages.map_layers import MISFIT, SIGMAS
from vpr_ros.pages.report_tables import Tile
from vpr_ros.pages.wording import counted
from vpr_ros.place_map import PlaceMap, Places

#: Places within NEAR, itself included, below which a place stands nearly alone.
FEW = 5


@dataclass(frozen=True)
class DriveRow:
    """A drive in words; empty where it is not known."""

    name: str
    places: int
    km: str
    began: str
    took: str
    step: str
    speed: str
    gaps: int
    filled: int
    looks: str
    off: int
    still: int
    turned: int


@dataclass(frozen=True)
class GapRow:
    """A gap in words: latitude and longitude of its ends, and seconds between them where they are known."""

    gap: Gap
    drive: str
    start: str
    end: str
    took: str


def survey_tiles(place_map: PlaceMap, found: Survey, drawn: Places, near: NDArray[np.int64]) -> list[Tile]:
    """Return what is to be seen first.

    Args:
        place_map: the map.
        found: what its positions tell.
        drawn: (M,) places that stand for all where looking at all takes long.
        near: (M,) places near each of these.
    """
    steps = np.concatenate([drive.steps for drive in found.drives])
    gaps = [gap for drive in found.drives for gap in drive.gaps]
    bare = [gap.metres for gap in gaps if not gap.filled]
    words = [f"the longest {max(bare):.1f} m"] if bare else []
    if filled := len(gaps) - len(bare):
        words.append(f"{filled} more that other places fill" if bare else f"{filled} that other places fill")
    km = sum(drive.session.metres for drive in found.drives) / 1e3
    east, north = np.ptp(place_map.enu[:, :2], axis=0) / 1e3
    return [
        Tile(
            "places",
            f"{len(place_map)}",
            f"{counted(len(found.drives), 'drive')}, {km:.2f} km, in {east:.2f} x {north:.2f} km",
        ),
        Tile(
            "to the next place",
            f"{np.median(steps):.2f} m" if len(steps) else "-",
            f"median along the drives; 95 % within {np.quantile(steps, 0.95):.2f} m"
            if len(steps)
            else "one place alone",
        ),
        Tile("gaps", f"{len(bare)}", "; ".join(words) or "none", bad=bool(bare)),
        Tile(
            f"places within {NEAR:g} m",
            f"{np.median(near):g}",
            f"median; {np.mean(near < FEW):.1%} of the places have fewer than {FEW}".replace("%", " %"),
        ),
        _both_ways(place_map, drawn),
        _suspects(found, place_map.geotag_std),
    ]


def _both_ways(place_map: PlaceMap, drawn: Places) -> Tile:
    known = drawn[~np.isnan(place_map.places["heading"][drawn])]
    if not len(known):
        return Tile("seen both ways", "unknown", "no place has a heading")
    share = f"{seen_both_ways(place_map, known).mean():.1%}".replace("%", " %")
    below = f"of {counted(len(known), 'place')} with a heading: another within {NEAR:g} m looks the other way"
    return Tile("seen both ways", share, below)


def _suspects(found: Survey, geotag_std: float) -> Tile:
    off, still, turned = found.off_line > SIGMAS * geotag_std, found.still, found.turned > MISFIT
    parts = {
        f"more than {SIGMAS * geotag_std:g} m off the line of their neighbours": off,
        "exactly where the place before is": still,
        f"heading turned more than {MISFIT:g}°": turned,
    }
    total = int((off | still | turned).sum())
    words = "; ".join(f"{which.sum()} {name}" for name, which in parts.items() if which.any())
    return Tile("positions that stand out", f"{total}", words or "none", bad=bool(total))


def drive_row(drive: Drive, found: Survey, geotag_std: float) -> DriveRow:
    """Return a drive in words."""
    session, places = drive.session, drive.places
    seconds = (session.last - session.first) / 1e9
    return DriveRow(
        name=session.name or "(no name)",
        places=len(session),
        km=f"{session.metres / 1e3:.3f}",
        began=(iso(session.first) or "")[:16].replace("T", " "),
        took=str(timedelta(seconds=round(seconds))) if seconds else "",
        step=f"{np.median(drive.steps):.2f}" if len(drive.steps) else "",
        speed=f"{session.metres / seconds:.2f}" if seconds else "",
        gaps=sum(not gap.filled for gap in drive.gaps),
        filled=sum(gap.filled for gap in drive.gaps),
        looks="" if np.isnan(drive.looks) else f"{round(drive.looks) + 0:+d}°",
        off=int((found.off_line[places] > SIGMAS * geotag_std).sum()),
        still=int(found.still[places].sum()),
        turned=int((found.turned[places] > MISFIT).sum()),
    )


def gap_row(rows: Rows, gap: Gap) -> GapRow:
    """Return a gap in words."""
    before, after = rows[gap.before], rows[gap.after]
    stamps = int(before["stamp"]), int(after["stamp"])
    start, end = (f"{each['latitude']:.6f} {each['longitude']:.6f}" for each in (before, after))
    took = f"{(stamps[1] - stamps[0]) / 1e9:.1f}" if all(stamps) else ""
    return GapRow(gap, str(before["session"]) or "(no name)", start, end, took)
