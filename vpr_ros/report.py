"""What people are given of a replayed drive: answers, figures, and a page that reports them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.open_engine import AnyEngine
from vpr_ros.pages import drive_charts as charts
from vpr_ros.pages.drive_picture import draw_drive
from vpr_ros.pages.inline_svg import inline_svg
from vpr_ros.pages.page import write_page
from vpr_ros.pages.report_tables import figure_rows, latency_rows, reasons, tiles
from vpr_ros.pages.track_chart import LEGEND, draw_track
from vpr_ros.pages.worst_frames import look, worst
from vpr_ros.pages.worst_heat import worst_heat
from vpr_ros.place_map import PlaceMap
from vpr_ros.replays.answers import write_answers
from vpr_ros.replays.drive_metrics import summarise
from vpr_ros.replays.drive_run import Run
from vpr_ros.replays.replayed import Replayed
from vpr_ros.replays.requirement import Requirement, unmet

#: Inches: of a chart among others, of one half a page wide, and of the tracks.
SMALL, HALF, TRACK = (4.0, 3.1), (4.8, 3.2), (4.8, 4.2)


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
        facts: that the report lists, as `write_report` takes them.
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


def write_report(
    file: Path,
    run: Run,
    single: Run | None,
    images: GeotaggedImages,
    place_map: PlaceMap,
    title: str,
    commands: Sequence[str],
    facts: Mapping[str, Mapping[str, object]],
    threshold: float | None = None,
    requirements: Sequence[Requirement] = (),
    engine: AnyEngine | None = None,
) -> None:
    """Write the report of a drive as one HTML file.

    Args:
        file: written whole.
        run: what the drive gave.
        single: the same frames, each by itself, to stand beside it.
        images: the drive; an answer's `row` is a row of it.
        place_map: the map that was searched.
        title: in words.
        commands: that make the map and this report again.
        facts: under headings such as "Versions", "Parameters" and "Calibration", each a name and a value.
        threshold: probability from which a hypothesis is accepted, where there is one.
        requirements: that the figures of `run` are held against.
        engine: where given, of the map's encoder, to show what the worst frames' answers hang on.
    """
    runs = [run] if single is None else [run, single]
    chosen = worst(run.frames)
    looks = [look(run.frames, frame, images, place_map) for frame in chosen]
    write_page(
        file,
        "report.html.j2",
        title=title,
        runs=runs,
        frames=run.figures["frames"],
        tiles=tiles(run.figures),
        requirements=requirements,
        unmet=unmet(requirements, run.figures),
        rows=figure_rows(runs),
        stretches=run.figures["stretches"],
        charts=_charts(runs, threshold),
        track=_track(run, place_map),
        timeline=inline_svg(
            lambda figure: charts.draw_timeline(figure, run), "timeline", "error along the drive", HALF
        ),
        legend=LEGEND,
        waits=run.figures["time_to_localise"],
        latencies=latency_rows(run.figures["latency_ms"]),
        reasons=reasons(run.figures["frames"]),
        looks=[(each, run.frames, frame) for each, frame in zip(looks, chosen, strict=True)],
        heat=None if engine is None else worst_heat(looks, images, place_map, engine),
        places=len(place_map),
        facts=facts,
        commands=commands,
    )


def _charts(runs: Sequence[Run], threshold: float | None) -> dict[str, tuple[Markup, str]]:
    """Return the small charts by their headings, each with a line that says how to read it."""

    def latency(figure: Figure) -> None:
        charts.draw_latency(figure, runs[0].figures["latency_ms"])

    drawn = {
        "Recall@N": (
            lambda figure: charts.draw_recall(figure, runs),
            "Mapped frames with a place within that radius among their first N hypotheses.",
        ),
        "Precision and recall": (
            lambda figure: charts.draw_precision_recall(figure, runs, threshold),
            "From the surest answer to the least: the share of the accepted that is within 25 m, over the "
            "share of mapped frames accepted and right.",
        ),
        "Errors": (
            lambda figure: charts.draw_errors(figure, runs),
            "The best hypothesis of each mapped frame.",
        ),
        "Probability": (
            lambda figure: charts.draw_reliability(figure, runs),
            "Below the line: surer than it should be. Each point stands for as many frames.",
        ),
        "Ellipses": (
            lambda figure: charts.draw_coverage(figure, runs),
            "Below the bar: covariances too small. Above: too large. Of fixes, and of all right hypotheses.",
        ),
        "Latency by stage": (latency, "From the image to its answer."),
    }
    return {
        name: (inline_svg(draw, name, f"{name}: the figures are in the table", SMALL), words)
        for name, (draw, words) in drawn.items()
    }


def _track(run: Run, place_map: PlaceMap) -> Markup:
    def draw(figure: Figure) -> None:
        draw_track(figure.add_subplot(), run.frames, place_map.enu, place_map.datum)

    return inline_svg(draw, "track", "the drive from above", TRACK)
