"""The frames of a drive that are most worth a look: what was seen, what was retrieved, what was there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.geodesy import to_enu
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.pages.apart import first_apart
from vpr_ros.pages.inline_picture import picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.replays.frame_arrays import FrameArrays

#: Frames shown, and seconds apart, so that they are not ten views of one mistake.
SHOWN, APART_S = 10, 2.0


@dataclass(frozen=True)
class Look:
    """A frame beside the map.

    Attributes:
        frame: its number in the `FrameArrays`.
        row: of the drive's table.
        retrieved: the place that the best hypothesis stands on.
        nearest: the place of the map nearest to the truth.
        nearest_m: metres to it.
        pictures: query, retrieved and nearest place, as data: URIs.
    """

    frame: int
    row: int
    retrieved: int
    nearest: int
    nearest_m: float
    pictures: tuple[str, str, str]


def worst(frames: FrameArrays, count: int = SHOWN, apart: float = APART_S) -> list[int]:
    """Return the numbers of the worst frames with an answer and a truth, the worst first.

    Wrong fixes come first, then frames that the map knows, then those beyond it; each by error. Frames less
    than `apart` seconds from a worse one are left out, unless there are too few others.
    """
    judged = np.flatnonzero(frames.answered & ~np.isnan(frames.error))
    wrong = frames.accepted & ~frames.right
    rank = np.where(wrong, 0, np.where(frames.mapped, 1, 2))
    order = judged[np.lexsort((-frames.error[judged], rank[judged]))].tolist()

    def are_apart(frame: int, other: int) -> bool:
        return bool(abs(frames.seconds[frame] - frames.seconds[other]) >= apart)

    return first_apart(order, count, are_apart)


def look(frames: FrameArrays, frame: int, images: GeotaggedImages, place_map: PlaceMap) -> Look:
    """Return a frame beside the map; what does not decode is a grey picture."""
    answer = frames.answers[frame]
    truth = to_enu(answer.true_latitude, answer.true_longitude, np.nan, place_map.datum)[:2]
    nearest_m, nearest = place_map.ground.query(truth)
    retrieved = answer.places[0] if answer.places else -1
    return Look(
        frame,
        answer.row,
        retrieved,
        int(nearest),
        float(nearest_m),
        (
            picture(lambda: images.read(answer.row)),
            picture(lambda: place_map.image(retrieved)),
            picture(lambda: place_map.image(int(nearest))),
        ),
    )
