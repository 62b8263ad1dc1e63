"""What came of a replayed drive, and the files that tell it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.open_engine import AnyEngine
from vpr_ros.pages.drive_picture import draw_drive
from vpr_ros.place_map import PlaceMap
from vpr_ros.replays.answers import FrameAnswer, write_answers
from vpr_ros.replays.drive_metrics import summarise
from vpr_ros.replays.drive_run import Run
from vpr_ros.replays.requirement import Requirement
from vpr_ros.report import write_report

#: Why there is no answer where the localiser names no place at all.
LOST = "lost: no hypothesis"


@dataclass(frozen=True)
class Replayed:
    """A line for every frame of a drive, in the order of recording.

    Attributes:
        final: what the localiser said.
        single: what it said of each image alone; None where that is the same, or was not told.
        filtered: whether it took the images before into account.
        threshold: probability above which it accepted its best hypothesis; infinite where never.
    """

    final: list[FrameAnswer]
    single: list[FrameAnswer] | None
    filtered: bool
    threshold: float


def write_result(
    out: Path,
    drive: str,
    replayed: Replayed,
    images: GeotaggedImages,
    place_map: PlaceMap,
    command: str,
    facts: Mapping[str, Mapping[str, object]],
    requirements: Sequence[Requirement],
    engine: AnyEngine | None = None,
) -> dict[str, Any]:
    """Write answers.csv, single.csv, metrics.json, drive.png and report.html; return the figures.

    Args:
        out: folder for them.
        drive: its name, in words.
        replayed: what came of it.
        images: the frames with their true geotags.
        place_map: the map that was searched.
        command: that makes all this again.
        facts: that the report lists, as `vpr_ros.report.write_report` takes them.
        requirements: that the report holds the figures against.
        engine: for the heat of the worst frames, where the report shall show it.
    """
    write_answers(out / "answers.csv", replayed.final)
    name = "filtered" if replayed.filtered else "each image alone"
    final, single = Run(name, replayed.final, summarise(replayed.final)), None
    if replayed.single is None:
        (out / "single.csv").unlink(missing_ok=True)  # of an earlier replay
    else:
        write_answers(out / "single.csv", replayed.single)
        single = Run("each image alone", replayed.single, summarise(replayed.single))
    figures = {
        "drive": drive,
        "places": len(place_map),
        **final.figures,
        "single_image": None if single is None else single.figures,
    }
    with replacing_file(out / "metrics.json") as partial:
        partial.write_text(json.dumps(figures, indent=1))
    title = f"{drive}: {len(replayed.final)} frames, a map of {len(place_map)} places"
    draw_drive(out / "drive.png", images, replayed.final, place_map, title)
    write_report(
        out / "report.html",
        final,
        single,
        images,
        place_map,
        title,
        [command],
        facts,
        replayed.threshold if math.isfinite(replayed.threshold) else None,
        requirements,
        engine,
    )
    return figures
