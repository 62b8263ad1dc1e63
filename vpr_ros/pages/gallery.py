"""A gallery of queries: what each retrieved first, how far off that is, and what was to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpr_ros.geodesy import to_ecef, to_enu, wrap_degrees
from vpr_ros.geotagged import GeotaggedImages, Rows, ground_distance
from vpr_ros.metrics import has_positive, recall_at
from vpr_ros.pages.apart import first_apart
from vpr_ros.pages.inline_picture import picture
from vpr_ros.pages.inline_svg import inline_svg
from vpr_ros.pages.page import write_page
from vpr_ros.pages.track_chart import CLOSE, MANY, MAP, RIGHT, WRONG
from vpr_ros.place_map import PlaceMap

#: Retrieved places shown beside a query, and metres between the queries of a group where there are enough.
FIRST, APART_M = 5, 10.0
#: Of the queries that are shown at random.
SEED = 0
#: Pixels of a picture at most; inches of the chart.
WIDTH, HEIGHT = 240, 180
CHART = (7.0, 4.2)


@dataclass(frozen=True, eq=False)
class Matching:
    """What queries retrieved from a map.

    Attributes:
        images: Q queries with their true geotags.
        places: for each query the retrieved places, the most similar first; none where it was not answered.
        similarities: of these.
        positives: for each query the places within the radius.
        radius: metres.
    """

    images: GeotaggedImages
    places: Sequence[NDArray[np.int64]]
    similarities: Sequence[NDArray[np.float32]]
    positives: Sequence[NDArray[np.intp]]
    radius: float

    def right(self, row: int) -> NDArray[np.bool_]:
        """Tell which of the retrieved places of a query lie within the radius."""
        found: NDArray[np.bool_] = np.isin(self.places[row], self.positives[row])
        return found


@dataclass(frozen=True)
class Shown:
    """A place beside a query: its picture, and how it lies to the query."""

    place: int
    picture: str
    metres: float
    turned: float | None
    right: bool
    similarity: float | None = None


@dataclass(frozen=True)
class Query:
    """A query with what it retrieved first, and the place nearest to it."""

    row: int
    image: str
    session: str
    position: str
    picture: str
    retrieved: list[Shown]
    nearest: Shown


def write_gallery(file: Path, matching: Matching, place_map: PlaceMap, title: str, most: int) -> int:
    """Write a gallery as one HTML file; return how many queries it shows.

    Args:
        file: written whole.
        matching: what was retrieved.
        place_map: the map that was searched.
        title: in words.
        most: queries that are shown at most: wrong ones, right ones and, for a third at least, any.
    """
    mapped = np.flatnonzero(has_positive(matching.positives))
    tree = cKDTree(to_ecef(place_map.places["latitude"], place_map.places["longitude"]))
    groups = {
        name: (words, [_look(matching, row, place_map, tree) for row in rows])
        for name, (words, rows) in chosen(matching, most).items()
    }
    answered, near = [matching.places[row] for row in mapped], [matching.positives[row] for row in mapped]
    write_page(
        file,
        "gallery.html.j2",
        title=title,
        groups=groups,
        queries=len(mapped),
        unmapped=len(matching.images) - len(mapped),
        unanswered=sum(not len(places) for places in answered),
        recalls=recall_at(answered, near, (1, FIRST)),
        first=FIRST,
        places=len(place_map),
        radius=matching.radius,
        chart=inline_svg(
            lambda figure: _draw(figure, matching, mapped, place_map),
            "queries",
            "the queries from above",
            CHART,
        ),
    )
    return sum(len(queries) for _, queries in groups.values())


def chosen(matching: Matching, most: int) -> dict[str, tuple[str, list[int]]]:
    """Return under headings how queries were chosen, and their rows; those beyond the map are left out."""
    answered = np.array([len(places) > 0 for places in matching.places], bool)
    rows = np.flatnonzero(has_positive(matching.positives) & answered)
    first = np.array([matching.right(row)[0] for row in rows], bool)
    surest = np.argsort([-matching.similarities[row][0] for row in rows], kind="stable")
    wrong, right = rows[surest[~first[surest]]], rows[surest[first[surest]]]
    ground = to_ecef(matching.images.rows["latitude"], matching.images.rows["longitude"])

    def apart(row: int, other: int) -> bool:
        return bool(np.linalg.norm(ground[row] - ground[other]) >= APART_M)

    third = -(-most // 3)
    surely_wrong = first_apart(wrong.tolist(), third, apart)
    surely_right = first_apart(right.tolist(), (most - third) // 2, apart)
    left = most - len(surely_wrong) - len(surely_right)
    by_chance = np.random.default_rng(SEED).permutation(rows)[:left]
    return {
        "Wrong": ("the surest first", surely_wrong),
        "Right": ("the surest first", surely_right),
        "By chance": ("in the order of the drive", np.sort(by_chance).tolist()),
    }


def _look(matching: Matching, row: int, place_map: PlaceMap, tree: cKDTree) -> Query:
    query = matching.images.rows[row]
    _, nearest = tree.query(to_ecef(query["latitude"], query["longitude"]))

    def shown(place: int, right: bool, similarity: float | None = None) -> Shown:
        there = place_map.places[place]
        metres = float(ground_distance(query, there))
        uri = picture(lambda: place_map.image(place), WIDTH, HEIGHT)
        return Shown(place, uri, metres, _turned(query, there), right, similarity)

    found = zip(matching.places[row], matching.right(row), matching.similarities[row])
    return Query(
        row,
        str(query["image"]),
        str(query["session"]),
        f"{query['latitude']:.6f} {query['longitude']:.6f}",
        picture(lambda: matching.images.read(row), WIDTH, HEIGHT),
        [shown(int(place), bool(right), float(similarity)) for place, right, similarity in found][:FIRST],
        shown(int(nearest), True),
    )


def _turned(query: Rows, place: Rows) -> float | None:
    """Return the degrees between two headings; None where one is unknown."""
    degrees = float(np.abs(wrap_degrees(query["heading"] - place["heading"])))
    return None if np.isnan(degrees) else degrees


def _draw(figure: Figure, matching: Matching, mapped: NDArray[np.intp], place_map: PlaceMap) -> None:
    """Draw the queries by where the first right place stands among the retrieved ones."""
    axis = figure.add_subplot()
    rows = matching.images.rows
    ground = to_enu(rows["latitude"], rows["longitude"], np.nan, place_map.datum)[:, :2]
    right = [matching.right(row) for row in mapped]
    first = np.array([each[:1].any() for each in right], bool)
    later = np.array([each[:FIRST].any() for each in right], bool) & ~first
    axis.plot(
        *place_map.enu[:, :2].T, ".", color=MAP, markersize=4, rasterized=len(place_map) > MANY, label="map"
    )
    for which, colour, words in (
        (first, RIGHT, "first one right"),
        (later, CLOSE, f"right among the first {FIRST}"),
        (~first & ~later, WRONG, "none of them right"),
    ):
        axis.plot(
            *ground[mapped[which]].T,
            "o",
            color=colour,
            markersize=3.5,
            rasterized=len(mapped) > MANY,
            label=f"{words}: {which.sum()}",
        )
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xlabel="east, m", ylabel="north, m")
    figure.legend(loc="outside upper left", ncols=4)
