"""What made the worst frames of a drive look like the places that were retrieved for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.small_picture import shrink
from vpr_ros.open_engine import AnyEngine
from vpr_ros.pages.heat_overlay import one_scale, overlay
from vpr_ros.pages.inline_picture import WIDTH, picture
from vpr_ros.pages.occlusion import heat_of
from vpr_ros.pages.worst_frames import Look
from vpr_ros.place_map import PlaceMap


@dataclass(frozen=True)
class WorstHeat:
    """Pictures of frames with their heat, on one scale.

    Attributes:
        pictures: as data: URIs; grey where there is no heat.
        largest: similarity that the strongest colour stands for.
    """

    pictures: list[str]
    largest: float


def worst_heat(
    looks: Sequence[Look], images: GeotaggedImages, place_map: PlaceMap, engine: AnyEngine
) -> WorstHeat:
    """Return the pictures of frames with what hiding each part takes from the similarity to the place.

    Args:
        looks: the frames.
        images: the drive that they are rows of.
        place_map: the map that was searched.
        engine: with the encoder that it was built with.
    """
    found = {}
    for look in tqdm(looks, desc="heat", unit="frame", disable=None):
        if look.retrieved < 0:
            continue
        try:
            image = images.read(look.row)
            towards = place_map.descriptors(np.array([look.retrieved]))[0]
            found[look.frame] = shrink(image, WIDTH), heat_of(engine, image, towards)
        except (InputError, OSError):
            continue  # its picture is grey, too
    colours = one_scale([heat for _, heat in found.values()], signed=True)

    def draw(look: Look) -> str:
        if look.frame not in found:
            return picture(lambda: None)
        return picture(lambda: overlay(*found[look.frame], colours))

    return WorstHeat([draw(look) for look in looks], float(colours.get_clim()[1] or 0.0))
