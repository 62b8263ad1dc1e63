"""Two replays of one drive side by side, and what differs by more than chance.

python -m vpr_ros.replay --compare FIRST SECOND --out DIR
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geodesy import Datum
from vpr_ros.pages import drive_charts as charts
from vpr_ros.pages.inline_svg import inline_svg
from vpr_ros.pages.page import write_page
from vpr_ros.pages.report_tables import figure_rows
from vpr_ros.pages.track_chart import LEGEND, draw_track
from vpr_ros.replays.answers import read_answers
from vpr_ros.replays.drive_metrics import summarise
from vpr_ros.replays.drive_run import Run
from vpr_ros.replays.figure_names import told
from vpr_ros.replays.frame_arrays import FrameArrays
from vpr_ros.replays.paired import Difference, changed_sides, common_frames, differences

ANSWERS = "answers.csv"
#: Inches of a chart and of a track.
SMALL, TRACK = (4.0, 3.1), (4.8, 4.2)
#: Frames that changed sides, listed at most.
LISTED = 40


def compare_drives(a: Path, b: Path, out: Path) -> dict[str, Any]:
    """Compare two replays of one drive, frame by frame, and write report.html and differences.json.

    Args:
        a: Folder of the first replay, with its answers.csv.
        b: Folder of the second replay, with its answers.csv.
        out: Folder for report.html and differences.json.

    Returns:
        `common`: frames of both; `differences`: by name `first`, `second`, `change`, `interval`; `gained` and
        `lost`: stamps of the mapped frames that are right in the second, or the first, alone.
    """
    runs = [_read(folder, name) for folder, name in zip((a, b), _names(a, b), strict=True)]
    first, second = common_frames(runs[0].frames, runs[1].frames)
    if not len(first):
        raise InputError(f"{a} and {b} share no frame: expected two replays of one drive, with its stamps")
    rows = differences(first, second)
    sides = changed_sides(first, second)
    figures = {
        "common": len(first),
        "differences": {row.words: _entry(row) for row in rows},
    } | {side: [first.answers[frame].stamp for frame in frames] for side, frames in sides.items()}
    with replacing_file(out / "differences.json") as partial:
        partial.write_text(json.dumps(figures, indent=1))
    write_page(
        out / "report.html",
        "compare.html.j2",
        title=f"{runs[0].name} and {runs[1].name}",
        folders=[a, b],
        runs=runs,
        common=len(first),
        differences=[(row, *_words(row)) for row in rows],
        charts=_charts(runs),
        tracks=[(run.name, _track(run, number, _datum(first))) for number, run in enumerate(runs)],
        legend=LEGEND,
        rows=figure_rows(runs),
        sides={side: _listed(first, second, frames) for side, frames in sides.items()},
        counts={side: len(frames) for side, frames in sides.items()},
    )
    print(table(rows, len(first)))
    return figures


def table(rows: Sequence[Difference], common: int) -> str:
    """Return the differences as lines to print."""
    lines = [f"{f'{common} frames of both':<44}{'first':>10}{'second':>10}{'change':>11}  95 % interval"]
    for row in rows:
        first, second, change, ends = _words(row)
        lines.append(f"{row.words:<44}{first:>10}{second:>10}{change:>11}  {ends}{' *' if row.clear else ''}")
    return "\n".join([*lines, "* the interval leaves out zero"])


def _read(folder: Path, name: str) -> Run:
    if not (folder / ANSWERS).is_file():
        raise InputError(f"{folder}: no {ANSWERS} in it: expected the folder that replay wrote")
    answers = read_answers(folder / ANSWERS)
    return Run(name, answers, summarise(answers))


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Return the shortest ends of the paths that tell them apart."""
    parts = a.resolve().parts, b.resolve().parts
    for length in range(1, max(map(len, parts)) + 1):
        first, second = ("/".join(each[-length:]) for each in parts)
        if first != second:
            return first, second
    return f"{a} (a)", f"{b} (b)"


def _entry(row: Difference) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name not in ("words", "unit")}


def _words(row: Difference) -> tuple[str, str, str, str]:
    if row.change is None:
        return "–", "–", "–", ""  # noqa: RUF001  dashes
    change = _signed(row.change, row.unit)
    ends = "" if row.interval is None else " to ".join(_signed(end, row.unit) for end in row.interval)
    return told(row.first, row.unit), told(row.second, row.unit), change, ends


def _signed(value: float, unit: str) -> str:
    text = told(abs(value), unit).replace("%", "pp")  # percentage points
    zero = not any(digit in text for digit in "123456789")
    return text if zero else ("+" if value > 0 else "−") + text  # noqa: RUF001  a minus sign


def _charts(runs: Sequence[Run]) -> dict[str, Markup]:
    drawn = {
        "Recall@N": lambda figure: charts.draw_recall(figure, runs),
        "Precision and recall": lambda figure: charts.draw_precision_recall(figure, runs, None),
        "Errors": lambda figure: charts.draw_errors(figure, runs),
        "Probability": lambda figure: charts.draw_reliability(figure, runs),
        "Ellipses": lambda figure: charts.draw_coverage(figure, runs),
    }
    return {name: inline_svg(draw, name, name, SMALL) for name, draw in drawn.items()}


def _datum(frames: FrameArrays) -> Datum:
    known = frames.truth[frames.known]
    return Datum(*known[0].tolist()) if len(known) else Datum(0.0, 0.0)


def _track(run: Run, number: int, datum: Datum) -> Markup:
    def draw(figure: Figure) -> None:
        draw_track(figure.add_subplot(), run.frames, np.empty((0, 2)), datum)

    return inline_svg(draw, f"track {number}", f"{run.name} from above", TRACK)


def _listed(first: FrameArrays, second: FrameArrays, frames: Sequence[int]) -> list[dict[str, Any]]:
    """Return what is told of frames that changed sides, the first LISTED of them."""
    return [
        {
            "seconds": float(first.seconds[frame]),
            "stamp": first.answers[frame].stamp,
            "errors": [
                told(None if np.isnan(each.error[frame]) else float(each.error[frame]), "m")
                for each in (first, second)
            ],
            "accepted": [bool(each.accepted[frame]) for each in (first, second)],
        }
        for frame in frames[:LISTED]
    ]
