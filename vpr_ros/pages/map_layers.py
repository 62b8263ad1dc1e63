"""Ways to colour the places of a map: by drive, by density, by what their positions tell, by heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.maps.survey import NEAR, Drive, Survey
from vpr_ros.place_map import Places

#: Colour-blind safe (Okabe and Ito), of as many drives; the others are drawn alike.
DRIVES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8B6914", "#5E3C99")
OTHERS, UNKNOWN = "#767676", "#b8b8b8"
#: Neighbours up to which a place has each colour.
CROWDS = ((4, "#fcbf49"), (15, "#7fbf7b"), (40, "#21918c"), (100, "#31688e"), (np.inf, "#440154"))
#: Standard deviations of the geotags above which a place off the line between its neighbours stands out, and
#: colours up to there.
SIGMAS = 3.0
OFF = ((1.0, "#9ecae1"), (2.0, "#4292c6"), (SIGMAS, "#08519c"), (np.inf, "#D55E00"))
STILL, TURNED = "#E69F00", "#CC79A7"
#: Degrees from where the drive's camera looks, above which a heading does not fit.
MISFIT = 45.0
COMPASS = (("north", "#0072B2"), ("east", "#E69F00"), ("south", "#D55E00"), ("west", "#009E73"))


@dataclass(frozen=True, eq=False)
class Layer:
    """A way to colour places.

    Attributes:
        name: of its own within a page, letters alone.
        title: for people.
        classes: words and colour of each class; later ones are drawn above earlier ones.
        number: (M,) class of each place.
        note: how to read it.
    """

    name: str
    title: str
    classes: Sequence[tuple[str, str]]
    number: NDArray[np.int64]
    note: str = ""


def by_drive(drives: Sequence[Drive], drive: NDArray[np.int64]) -> Layer:
    """Colour M places by the drive of each."""
    longest = sorted(range(len(drives)), key=lambda each: -len(drives[each].session))[: len(DRIVES)]
    named = sorted(longest)
    classes = [(drives[each].session.name or "(no name)", colour) for each, colour in zip(named, DRIVES)]
    number = np.full(len(drives), len(named))
    number[named] = np.arange(len(named))
    if others := len(drives) - len(named):
        classes.append((f"{others} more", OTHERS))
    return Layer("drive", "drive", classes, number[drive])


def by_density(near: NDArray[np.int64]) -> Layer:
    """Colour M places by how many lie near."""
    ends = [most for most, _ in CROWDS]
    words = [f"{low + 1:g} to {high:g}" for low, high in zip([0, *ends], ends[:-1])] + [
        f"more than {ends[-2]:g}"
    ]
    classes = [(each, colour) for each, (_, colour) in zip(words, CROWDS)]
    note = f"Places within {NEAR:g} m, itself included."
    return Layer("density", "density", classes, np.searchsorted(ends, near), note)


def by_position(survey: Survey, places: Places, geotag_std: float) -> Layer:
    """Colour M places by what speaks against their positions."""
    off, ends = survey.off_line[places], [sigmas * geotag_std for sigmas, _ in OFF]
    words = [f"within {metres:.3g} m of the line" for metres in ends[:-1]] + [
        f"more than {ends[-2]:.3g} m off it"
    ]
    classes = [("no neighbours", UNKNOWN)] + [(each, colour) for each, (_, colour) in zip(words, OFF)]
    number = np.where(np.isnan(off), 0, np.searchsorted(ends, off) + 1)
    for which, words_of, colour in (
        (survey.still[places] & (number < len(OFF)), "exactly where the place before is", STILL),
        (survey.turned[places] > MISFIT, f"heading turned more than {MISFIT:g}°", TURNED),
    ):
        number[which] = len(classes)
        classes.append((words_of, colour))
    note = (
        f"The map keeps one figure for the quality of its positions, {geotag_std:g} m. What single ones are "
        "worth is told by their neighbours alone: how far each lies off the line between the place before "
        "and the one after (a sharp turn of the road looks the same), and whether its heading fits the "
        "direction of travel and the way in which the camera of its drive looks."
    )
    return Layer("position", "GPS quality", classes, number, note)


def by_heading(headings: NDArray[np.float64]) -> Layer:
    """Colour M places by where they look, degrees clockwise from north."""
    classes = [("unknown", UNKNOWN), *COMPASS]
    known = np.nan_to_num(headings)
    number = np.where(np.isnan(headings), 0, np.round(known / 90.0).astype(int) % 4 + 1)
    return Layer("heading", "heading", classes, number, "The nearest point of the compass.")
