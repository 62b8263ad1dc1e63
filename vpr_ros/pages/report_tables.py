"""A drive's figures in words and tables, as reports show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vpr_ros.metrics import RIGHT_M
from vpr_ros.pages.wording import counted
from vpr_ros.replays.drive_metrics import NS
from vpr_ros.replays.drive_run import Run
from vpr_ros.replays.figure_names import NAMES, figure, interval, told, told_interval

#: What the table of figures shows, under headings.
TABLE: dict[str, tuple[str, ...]] = {
    "Recall": tuple(f"recall@{n}/{radius}m" for radius in (25, 10, 5) for n in NS),
    "Best hypothesis, on the map": ("error_p50", "error_p95", "recall@99%precision", "calibration_error"),
    "Fixes": (
        "accepted",
        "precision",
        "wrong",
        "accepted_unmapped",
        "accepted_error_p50",
        "accepted_error_p95",
    ),
    "Errors inside their ellipses": (
        *(f"coverage{level}" for level in (50, 90, 95, 99)),
        "right_coverage95",
    ),
    "Time": (
        "time_to_localise",
        "time_after_kidnapping",
        "answered",
        *(f"latency_{which}_ms" for which in ("p50", "p95", "p99")),
    ),
}
#: Reasons listed, and the letters of each.
REASONS, LETTERS = 20, 200


@dataclass(frozen=True)
class Tile:
    """One figure to see at a glance: what it is, its value, and what stands below in small print."""

    name: str
    value: str
    below: str
    bad: bool = False


def tiles(figures: Mapping[str, Any]) -> list[Tile]:
    """Return what is to be seen first."""
    frames, accepted, waits = figures["frames"], figures["accepted"], figures["time_to_localise"]

    def value(name: str) -> str:
        return told(figure(figures, name), NAMES[name].unit)

    def sure(name: str) -> str:
        ends = told_interval(interval(figures, name), NAMES[name].unit)
        return f"95 % interval {ends}" if ends else ""

    wrong = f"{accepted['wrong']} of {accepted['with_truth']}"
    beyond = f"{accepted['unmapped']} beyond the map"
    return [
        Tile(
            f"recall@1 within {RIGHT_M:g} m",
            value("recall@1"),
            _listed(f"of {counted(frames['mapped'], 'frame')} on the map", sure("recall@1")),
        ),
        Tile(
            "frames with a fix",
            value("accepted"),
            _listed(f"{accepted['count']} of {frames['in']}", sure("accepted")),
        ),
        Tile(
            f"fixes more than {RIGHT_M:g} m off",
            wrong,
            _listed(f"right: {value('precision')}", sure("precision"), beyond),
            bad=bool(accepted["wrong"]),
        ),
        Tile(
            "median error of fixes",
            value("accepted_error_p50"),
            _listed(sure("accepted_error_p50"), f"95 % of fixes within {value('accepted_error_p95')}"),
        ),
        Tile(
            "first right fix after",
            "never" if waits["start_s"] is None else value("time_to_localise"),
            _listed("from the start of the drive", _after_kidnappings(waits["kidnapped"])),
            bad=waits["start_s"] is None,
        ),
        Tile(
            "latency, median",
            value("latency_p50_ms"),
            f"95 % within {value('latency_p95_ms')}, 99 % within {value('latency_p99_ms')}",
        ),
    ]


def _after_kidnappings(kidnapped: Sequence[Mapping[str, float | None]]) -> str:
    if not kidnapped:
        return ""
    seconds = [each["seconds"] for each in kidnapped if each["seconds"] is not None]
    longest = f", within {told(max(seconds), 's')}" if seconds else ""
    return f"again after {len(seconds)} of {counted(len(kidnapped), 'kidnapping')}{longest}"


def _listed(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


@dataclass(frozen=True)
class Row:
    """A figure in words, and its value and interval for each run."""

    words: str
    cells: Sequence[tuple[str, str]]


def figure_rows(runs: Sequence[Run]) -> dict[str, list[Row]]:
    """Return the rows of TABLE under their headings."""
    return {
        heading: [
            Row(
                NAMES[name].words,
                [
                    (
                        told(figure(run.figures, name), NAMES[name].unit),
                        told_interval(interval(run.figures, name), NAMES[name].unit),
                    )
                    for run in runs
                ],
            )
            for name in names
        ]
        for heading, names in TABLE.items()
    }


def latency_rows(latency: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return for the whole and each stage p50, p95 and p99 in words."""
    stages = {"image to answer": latency["total"], **latency["stages"]}
    return [(name[:LETTERS], [told(value, "ms") for value in each.values()]) for name, each in stages.items()]


def reasons(frames: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Return why frames have no answer: reason, frames, and their share; the rarest ones together."""
    listed = sorted(frames["unanswered"].items(), key=lambda each: -each[1])
    rows = [(reason[:LETTERS], count) for reason, count in listed[:REASONS]]
    if left := listed[REASONS:]:
        rows.append((f"{len(left)} other reasons", sum(count for _, count in left)))
    return [(reason, count, told(count / frames["in"], "%")) for reason, count in rows]
