"""A page of a map: its drives from above, its gaps, what its positions are worth, and its pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from vpr_ros.drives.sessions import sessions_of
from vpr_ros.geotagged import Rows
from vpr_ros.maps.statistics import evenly
from vpr_ros.maps.survey import NEAR, Survey, density, survey
from vpr_ros.pages.inline_picture import jpeg_uri
from vpr_ros.pages.inline_svg import inline_svg
from vpr_ros.pages.map_drawing import dots_at, line_through, window_around
from vpr_ros.pages.map_layers import MISFIT, SIGMAS, Layer, by_density, by_drive, by_heading, by_position
from vpr_ros.pages.page import TEMPLATES, write_page
from vpr_ros.pages.survey_charts import draw_compass, draw_spread
from vpr_ros.pages.survey_tables import drive_row, gap_row, survey_tiles
from vpr_ros.pages.wording import end_of
from vpr_ros.place_map import PlaceMap, Places

#: Places drawn, points of all lines, gaps and drives listed, letters of a name: at most.
DRAWN, POINTS, LISTED, LETTERS = 20_000, 20_000, 100, 120
#: Pixels of a picture at most.
WIDTH, HEIGHT = 240, 180
#: Inches of a chart.
CHART = (3.4, 2.9)


@dataclass(frozen=True)
class OnPage:
    """How much of a map is on its page: places that are drawn, pictures, gaps."""

    drawn: int
    pictures: int
    gaps: int


def write_map_page(
    file: Path, place_map: PlaceMap, name: str, pictures: int = 500, gap: float = 5.0
) -> OnPage:
    """Write a page of a map as one HTML file.

    Args:
        file: written whole.
        place_map: the map.
        name: of the map, for people.
        pictures: that the page holds at most, evenly chosen along the drives.
        gap: a step so many times longer than the median one of its drive is a gap.

    Raises:
        InputError: a file of the map is damaged.
    """
    rows = place_map.rows()
    found = survey(place_map, sessions_of(rows), gap)
    order = np.concatenate([drive.places for drive in found.drives])
    drives = np.repeat(np.arange(len(found.drives)), [len(each.session) for each in found.drives])
    chosen = evenly(len(order), DRAWN)
    drawn, drives = order[chosen], drives[chosen]
    near = density(place_map, drawn)
    window = window_around(place_map.enu[:, :2])
    ground = window.local(place_map.enu[:, :2])
    layers = [
        by_drive(found.drives, drives),
        by_density(near),
        by_position(found, drawn, place_map.geotag_std),
        by_heading(rows["heading"][drawn]),
    ]
    shown = _pictures(place_map, drawn, pictures)
    # the longest first, those that other places fill last
    gaps = sorted(
        (gap for drive in found.drives for gap in drive.gaps), key=lambda gap: (gap.filled, -gap.metres)
    )
    write_page(
        file,
        "map.html.j2",
        script=(TEMPLATES / "map.js").read_text(),
        title=f"Map {name}",
        manifest=place_map.manifest,
        tiles=survey_tiles(place_map, found, drawn, near),
        window=window,
        lines=[_line(piece, ground, len(rows)) for drive in found.drives for piece in drive.pieces],
        layers=[(layer, _classes(layer, ground[drawn])) for layer in layers],
        gap=gap,
        gaps=[
            (gap_row(rows, each), line_through(ground[[each.before, each.after]])) for each in gaps[:LISTED]
        ],
        more_gaps=len(gaps[LISTED:]),
        drives=[drive_row(each, found, place_map.geotag_std) for each in found.drives[:LISTED]],
        more_drives=len(found.drives[LISTED:]),
        charts=_charts(found, rows, near),
        places=len(rows),
        drawn=len(drawn),
        pictures=len(shown),
        off=SIGMAS * place_map.geotag_std,
        misfit=MISFIT,
        data=_data(found, rows, drawn, drives, near, ground[drawn]) | {"pictures": shown},
    )
    return OnPage(len(drawn), len(shown), len(gaps))


def _classes(layer: Layer, ground: NDArray[np.float64]) -> list[tuple[str, str, str]]:
    """Return words, colour and dots of the classes that have a place."""
    members = [ground[layer.number == number] for number in range(len(layer.classes))]
    return [(*each, dots_at(some)) for each, some in zip(layer.classes, members) if len(some)]


def _data(
    found: Survey,
    rows: Rows,
    drawn: Places,
    drives: NDArray[np.int64],
    near: NDArray[np.int64],
    ground: NDArray[np.float64],
) -> dict[str, Any]:
    """Return what is told of a place that is clicked: a list for each column, in the order of the drives."""
    some = rows[drawn]
    return {
        "place": drawn.tolist(),
        "x": _rounded(ground[:, 0], 2),
        "y": _rounded(ground[:, 1], 2),
        "drive": drives.tolist(),
        "drives": [end_of(each.session.name, LETTERS) or "(no name)" for each in found.drives],
        "latitude": _rounded(some["latitude"], 7),
        "longitude": _rounded(some["longitude"], 7),
        "heading": _rounded(some["heading"], 1),
        "stamp": (some["stamp"] // 10**6).tolist(),
        "image": [end_of(name, LETTERS) for name in some["image"].tolist()],
        "near": near.tolist(),
        "within": NEAR,
        "off": _rounded(found.off_line[drawn], 2),
    }


def _pictures(place_map: PlaceMap, drawn: Places, most: int) -> dict[int, str]:
    """Return pictures by the number of their place among the drawn ones."""
    found = {}
    numbers = evenly(len(drawn), most).tolist() if most else []
    for number in tqdm(numbers, desc="pictures", unit="place", delay=1):
        image = place_map.image(int(drawn[number]))
        if image is not None:
            found[number] = jpeg_uri(image, WIDTH, HEIGHT)
    return found


def _line(piece: Places, ground: NDArray[np.float64], places: int) -> str:
    step = -(-places // POINTS)
    thinned = np.append(piece[:-1:step], piece[-1])
    return line_through(ground[thinned])


def _charts(found: Survey, rows: Rows, near: NDArray[np.int64]) -> dict[str, tuple[Markup, str]]:
    """Return the charts by their headings, each with a line that says how to read it."""
    steps = np.concatenate([drive.steps for drive in found.drives])

    def spacing(figure: Figure) -> None:
        draw_spread(figure, steps, "metres")

    def crowd(figure: Figure) -> None:
        draw_spread(figure, near.astype(np.float64), "neighbours")

    def off(figure: Figure) -> None:
        draw_spread(figure, found.off_line, "metres")

    def compass(figure: Figure) -> None:
        draw_compass(figure, rows["heading"])

    drawn: dict[str, tuple[Callable[[Figure], None], str]] = {
        "Spacing": (spacing, "Metres from each place to the next one of its drive."),
        "Density": (crowd, f"Places within {NEAR:g} m of a place, itself included."),
        "Off the line": (off, "Metres from each place to the line between the one before and the one after."),
    }
    if not np.isnan(rows["heading"]).all():
        drawn["Headings"] = (compass, "How many places look which way, north up.")
    return {
        name: (inline_svg(draw, name, f"{name}: {words}", CHART), words)
        for name, (draw, words) in drawn.items()
    }


def _rounded(values: NDArray[np.float64], decimals: int) -> list[float | None]:
    return [None if np.isnan(value) else round(value, decimals) for value in values.tolist()]
