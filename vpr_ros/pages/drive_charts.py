"""Charts of a drive's figures; each fills a figure with one run, or with two to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from vpr_ros.metrics import RIGHT_M
from vpr_ros.pages.track_chart import CLOSE, MANY, RIGHT, UNMAPPED, WRONG, colour_of
from vpr_ros.replays.drive_metrics import LEVELS, NS, RADII, probability_curve
from vpr_ros.replays.drive_run import Run
from vpr_ros.replays.time_to_localise import kidnappings

#: Colour-blind safe, of the first run and the second; told apart by line and marker as well.
COLOURS, LINES, MARKERS = ("#0072B2", "#E69F00"), ("-", "--"), ("o", "s")
#: From the strictest radius to the widest.
SHADES, SHAPES = ("#08306b", "#0072B2", "#56B4E9"), ("o", "s", "^")
#: Metres between which errors are shown; those beyond stand at the ends.
CLOSEST, FARTHEST = 0.1, 3000.0
#: Stages shown, and the letters of the name of a stage or run.
STAGES, LETTERS = 10, 16
SHARE = PercentFormatter(1.0, decimals=0, symbol=" %")


def draw_recall(figure: Figure, runs: Sequence[Run]) -> None:
    """Recall@N by radius, with the intervals of the first run."""
    axis = figure.add_subplot()
    for radius, shade, shape in zip(RADII, SHADES, SHAPES, strict=True):
        key = f"{radius:g}m"
        for number, run in enumerate(runs):
            values = _numbers(run.figures["recall"][key].values())
            axis.plot(
                range(len(NS)),
                values,
                LINES[number],
                color=shade,
                marker=shape,
                markersize=5,
                markerfacecolor="white" if number else shade,
                label=f"{radius:g} m" + (f", {_short(run.name)}" if len(runs) > 1 else ""),
            )
        low, high = _ends(runs[0].figures["intervals"]["recall"][key].values())
        axis.vlines(range(len(NS)), low, high, colors=shade, linewidth=1)
    axis.set(xticks=range(len(NS)), xticklabels=[f"@{n}" for n in NS], ylim=(0, 1.03), ylabel="recall")
    axis.yaxis.set_major_formatter(SHARE)
    figure.legend(loc="outside upper left", ncols=2 if len(runs) > 1 else 3)


def draw_precision_recall(figure: Figure, runs: Sequence[Run], threshold: float | None) -> None:
    """Precision over recall as the accepted probability falls; what was published; the threshold."""
    axis = figure.add_subplot()
    lowest = 1.0
    for number, run in enumerate(runs):
        curve, frames = probability_curve(run.frames), run.frames
        colour, mark = COLOURS[number], MARKERS[number]
        axis.step(
            curve.recall, curve.precision, LINES[number], where="post", color=colour, label=_short(run.name)
        )
        lowest = min([lowest, *curve.precision.tolist()])
        fixes = frames.accepted & frames.judged
        if fixes.any() and frames.mapped.any():
            recall = (fixes & frames.right & frames.mapped).sum() / frames.mapped.sum()
            precision = frames.right[fixes].mean()
            axis.plot(recall, precision, mark, color=colour, markersize=8, label=f"{_short(run.name)}: fixes")
        above = np.flatnonzero(curve.threshold >= (np.inf if threshold is None else threshold))
        if number == 0 and len(above):
            axis.plot(
                curve.recall[above[-1]],
                curve.precision[above[-1]],
                "D",
                color="#1a1a1a",
                markerfacecolor="none",
                markersize=9,
                label=f"threshold {threshold:g}",
            )
    axis.set(xlim=(0, 1.02), ylim=(max(0.0, lowest - 0.05), 1.02), xlabel="recall", ylabel="precision")
    axis.xaxis.set_major_formatter(SHARE)
    axis.yaxis.set_major_formatter(SHARE)
    figure.legend(loc="outside upper left", ncols=2)


def draw_errors(figure: Figure, runs: Sequence[Run]) -> None:
    """How far the best hypotheses of mapped frames are off, on a scale of powers of ten."""
    axis = figure.add_subplot()
    bins = np.geomspace(CLOSEST, FARTHEST, 37)
    frames = runs[0].frames
    known = frames.mapped & ~np.isnan(frames.error)
    metres = [
        np.clip(frames.error[known & fix], CLOSEST, FARTHEST) for fix in (frames.accepted, ~frames.accepted)
    ]
    axis.hist(
        metres,
        bins.tolist(),
        stacked=True,
        color=["#0072B2", "#cfe3f1"],
        label=["accepted as a fix", "not accepted"],
    )
    for run in runs[1:]:
        chosen = run.frames.mapped & ~np.isnan(run.frames.error)
        axis.hist(
            np.clip(run.frames.error[chosen], CLOSEST, FARTHEST),
            bins.tolist(),
            histtype="step",
            color=COLOURS[1],
            linewidth=1.5,
            label=f"{_short(run.name)}, all",
        )
    axis.axvline(RIGHT_M, color="#1a1a1a", linewidth=1, linestyle=":", label=f"{RIGHT_M:g} m")
    axis.set(xscale="log", xlim=(CLOSEST, FARTHEST), xlabel="error, m", ylabel="frames")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda metres, _: f"{metres:g}"))
    figure.legend(loc="outside upper left", ncols=2)


def draw_reliability(figure: Figure, runs: Sequence[Run]) -> None:
    """The share that is right over the probability said, in bins of equal mass."""
    axis = figure.add_subplot()
    axis.plot([0, 1], [0, 1], color="#767676", linewidth=1, linestyle=":", label="as it should be")
    for number, run in enumerate(runs):
        bins = run.figures["calibration"]["bins"]
        said, right = ([each[key] for each in bins] for key in ("probability", "right"))
        colour, mark = COLOURS[number], MARKERS[number]
        axis.plot(said, right, LINES[number], color=colour, marker=mark, markersize=5, label=_short(run.name))
    axis.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability said", ylabel="share that is right")
    axis.xaxis.set_major_formatter(SHARE)
    axis.yaxis.set_major_formatter(SHARE)
    figure.legend(loc="outside upper left", ncols=2)


def draw_coverage(figure: Figure, runs: Sequence[Run]) -> None:
    """The share of errors inside ellipses of several probabilities, of fixes and of right hypotheses."""
    axis = figure.add_subplot()
    where = np.arange(len(LEVELS))
    axis.hlines(LEVELS, where - 0.4, where + 0.4, color="#1a1a1a", linewidth=2, label="as it should be")
    shown = [(run, of) for run in runs for of in ("accepted", "right")]
    for number, (run, of) in enumerate(shown):
        x = where + 0.5 * ((number + 0.5) / len(shown) - 0.5)
        colour = COLOURS[number // 2]
        low, high = _ends(run.figures["intervals"]["coverage"][of].values())
        axis.vlines(x, low, high, colors=colour, linewidth=1)
        words = "fixes" if of == "accepted" else "right"
        axis.plot(
            x,
            _numbers(run.figures["coverage"][of].values()),
            MARKERS[number // 2],
            color=colour,
            markerfacecolor=colour if of == "accepted" else "white",
            label=words + (f", {_short(run.name)}" if len(runs) > 1 else ""),
        )
    labels = [f"{level:.0%}".replace("%", " %") for level in LEVELS]
    axis.set(xticks=where, xticklabels=labels, ylim=(0, 1.03), xlabel="ellipse of", ylabel="errors inside")
    axis.yaxis.set_major_formatter(SHARE)
    figure.legend(loc="outside upper left", ncols=2 if len(runs) > 1 else 3, columnspacing=1.0)


def draw_latency(figure: Figure, latency: Mapping[str, Any]) -> None:
    """Median, 95th and 99th percentile of a frame and of each stage."""
    axis = figure.add_subplot()
    stages = {"all": latency["total"], **dict(list(latency["stages"].items())[:STAGES])}
    for number, taken in enumerate(stages.values()):
        p50, p95, p99 = _numbers(taken.values())
        colour = "#0072B2" if number == 0 else "#56B4E9"
        axis.barh(number, p50, 0.6, color=colour, label="" if number else "median")
        axis.plot([p50, p95], [number, number], color="#1a1a1a", label="" if number else "to 95 %")
        axis.plot(p99, number, "|", color=WRONG, markersize=10, label="" if number else "99 %")
    axis.set(yticks=range(len(stages)), yticklabels=[_short(name) for name in stages], xlabel="ms")
    axis.set_xlim(left=0)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    _legend(figure, ("median", "to 95 %", "99 %"))


def draw_timeline(figure: Figure, run: Run) -> None:
    """The error along the drive, with the kidnappings, and the stretches that the map does not know."""
    axis, frames = figure.add_subplot(), run.frames
    metres = np.clip(frames.error, CLOSEST, FARTHEST)
    unmapped = frames.known & ~frames.mapped
    axis.fill_between(
        frames.seconds,
        CLOSEST,
        FARTHEST,
        where=unmapped.tolist(),
        color=UNMAPPED,
        alpha=0.25,
        linewidth=0,
        label="beyond the map",
    )
    rest = frames.judged & ~frames.accepted
    many = len(frames) > MANY
    axis.plot(
        frames.seconds[rest],
        metres[rest],
        ".",
        color="#a0a0a0",
        markersize=3,
        label="not accepted",
        rasterized=many,
    )
    for colour, label in ((RIGHT, "fix within 10 m"), (CLOSE, "within 25 m"), (WRONG, "farther")):
        near = np.array([colour_of(each) == colour for each in metres], bool)
        mine = frames.judged & frames.accepted & near
        axis.plot(
            frames.seconds[mine],
            metres[mine],
            "o",
            color=colour,
            markersize=3.5,
            label=label,
            rasterized=many,
        )
    lost = ~frames.answered
    axis.plot(
        frames.seconds[lost],
        np.full(int(lost.sum()), CLOSEST * 1.15),
        "|",
        color="#1a1a1a",
        markersize=6,
        label="no answer",
    )
    for number, frame in enumerate(kidnappings(frames)):
        label = "" if number else "kidnapped"
        axis.axvline(frames.seconds[frame], color="#1a1a1a", linestyle="--", linewidth=1, label=label)
    axis.set(
        yscale="log", ylim=(CLOSEST, FARTHEST), xlabel="seconds since the first frame", ylabel="error, m"
    )
    axis.yaxis.set_major_formatter(FuncFormatter(lambda metres, _: f"{metres:g}"))
    fixes = ("fix within 10 m", "within 25 m", "farther")
    _legend(figure, (*fixes, "not accepted", "no answer", "kidnapped", "beyond the map"))


def _legend(figure: Figure, order: Sequence[str]) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    drawn = dict(zip(labels, handles, strict=True))
    shown = [label for label in order if label in drawn]
    figure.legend([drawn[label] for label in shown], shown, loc="outside upper left", ncols=3)


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _numbers(values: Any) -> list[float]:
    return [np.nan if value is None else float(value) for value in values]


def _ends(intervals: Any) -> NDArray[np.float64]:
    """Return the (2, N) lower and upper ends; NaN where there is none."""
    return np.array([each or (np.nan, np.nan) for each in intervals], np.float64).T
