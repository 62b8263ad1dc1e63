"""What came back for each frame of a drive, beside the truth, and the csv file of it.

A line stands by itself: whoever has the file needs neither the drive nor the map to judge it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geodesy import to_enu
from vpr_ros.geotagged import Rows
from vpr_ros.place_map import PlaceMap

#: Retrieved places that a line keeps.
KEPT = 25
NAN = math.nan


@dataclass(frozen=True)
class FrameAnswer:
    """One frame of a drive.

    Attributes:
        stamp: of the image, nanoseconds.
        row: of the drive's table of true geotags; -1 where the frame has none.
        reason: why there is no answer; empty where there is one.
        true_latitude: WGS84 degrees; NaN where the truth is not known, as are all that follow from it.
        true_longitude: likewise.
        mapped_m: metres from the truth to the nearest place of the map.
        latitude: of the best hypothesis, WGS84 degrees; NaN where there is no answer, likewise the rest.
        longitude: likewise.
        error_east: metres, the best hypothesis less the truth.
        error_north: likewise.
        var_east: m^2, of the best hypothesis.
        cov_east_north: likewise.
        var_north: likewise.
        probability: of the best hypothesis.
        none: probability that the robot is at none of them.
        accepted: whether it was published as a fix.
        places: for each hypothesis, ranked, the place it stands on; at most KEPT.
        place_m: metres from the truth to each of these.
        latency: seconds from the image to its answer.
        stages: seconds of each stage, where they are known.
    """

    stamp: int
    row: int = -1
    reason: str = ""
    true_latitude: float = NAN
    true_longitude: float = NAN
    mapped_m: float = NAN
    latitude: float = NAN
    longitude: float = NAN
    error_east: float = NAN
    error_north: float = NAN
    var_east: float = NAN
    cov_east_north: float = NAN
    var_north: float = NAN
    probability: float = NAN
    none: float = NAN
    accepted: bool = False
    places: tuple[int, ...] = ()
    place_m: tuple[float, ...] = ()
    latency: float = NAN
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return not self.reason

    @property
    def error(self) -> float:
        """Metres on the ground from the truth to the best hypothesis."""
        return math.hypot(self.error_east, self.error_north)


class Judge:
    """Puts answers beside the truth.

    Args:
        truth: the drive's table of true geotags.
        place_map: the map that was searched.
    """

    def __init__(self, truth: Rows, place_map: PlaceMap) -> None:
        self._truth = truth
        self._map = place_map
        self._true_enu = to_enu(truth["latitude"], truth["longitude"], truth["altitude"], place_map.datum)[
            :, :2
        ]
        self._mapped, _ = place_map.ground.query(self._true_enu)

    def unanswered(self, stamp: int, row: int | None, reason: str) -> FrameAnswer:
        """Return the line of a frame without an answer."""
        return self._with_truth(FrameAnswer(stamp, reason=reason), row)

    def answered(
        self,
        stamp: int,
        row: int | None,
        points: NDArray[Any],
        accepted: bool,
        latency: float,
        stages: Mapping[str, float],
    ) -> FrameAnswer:
        """Return the line of an answer: its hypotheses, ranked, as points of `hypotheses.POINT`."""
        best = points[0]
        answer = FrameAnswer(
            stamp,
            latitude=float(best["latitude"]),
            longitude=float(best["longitude"]),
            var_east=float(best["var_east"]),
            cov_east_north=float(best["cov_east_north"]),
            var_north=float(best["var_north"]),
            probability=float(best["probability"]),
            none=max(0.0, 1.0 - float(points["probability"].sum(dtype=np.float64))),
            accepted=accepted,
            places=tuple(points["place"][:KEPT].tolist()),
            latency=latency,
            stages=dict(stages),
        )
        return self._with_truth(answer, row)

    def _with_truth(self, answer: FrameAnswer, row: int | None) -> FrameAnswer:
        if row is None:
            return answer
        truth, true = self._truth[row], self._true_enu[row]
        found = to_enu(answer.latitude, answer.longitude, truth["altitude"], self._map.datum)[:2]
        east, north = (found - true).tolist()
        places = np.linalg.norm(self._map.enu[list(answer.places), :2] - true, axis=1)
        return replace(
            answer,
            row=row,
            true_latitude=float(truth["latitude"]),
            true_longitude=float(truth["longitude"]),
            mapped_m=float(self._mapped[row]),
            error_east=east,
            error_north=north,
            place_m=tuple(places.tolist()),
        )


_STAGE = "seconds "


def write_answers(file: Path, answers: Sequence[FrameAnswer]) -> None:
    """Write one line a frame, as csv; each stage is a column `seconds STAGE`."""
    columns = [each.name for each in fields(FrameAnswer) if each.name != "stages"]
    stages = list(dict.fromkeys(stage for answer in answers for stage in answer.stages))
    with replacing_file(file) as partial, partial.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*columns, *(_STAGE + stage for stage in stages)])
        for answer in answers:
            values = [_text(getattr(answer, column)) for column in columns]
            writer.writerow([*values, *(_text(answer.stages.get(stage, NAN)) for stage in stages)])


def read_answers(file: Path) -> list[FrameAnswer]:
    """Return what `write_answers` wrote; raises InputError for anything else."""
    try:
        with file.open(newline="") as opened:
            return [_line(line) for line in csv.DictReader(opened, strict=True)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{file}: not the answers of a drive ({error}): expected a file of replay"
        ) from error


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return " ".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def _line(line: dict[str, str]) -> FrameAnswer:
    def number(name: str) -> float:
        return float(line[name]) if line[name] else NAN

    values: dict[str, Any] = {
        each.name: number(each.name) for each in fields(FrameAnswer) if each.type == "float"
    }
    return FrameAnswer(
        stamp=int(line["stamp"]),
        row=int(line["row"]),
        reason=line["reason"],
        accepted=line["accepted"] == "1",
        places=tuple(int(place) for place in line["places"].split()),
        place_m=tuple(float(metres) for metres in line["place_m"].split()),
        stages={
            name.removeprefix(_STAGE): number(name) for name in line if name.startswith(_STAGE) and line[name]
        },
        **values,
    )
