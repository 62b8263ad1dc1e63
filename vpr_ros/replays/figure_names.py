"""The names by which a drive's figures are required, told and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpr_ros.replays.bootstrap import Interval


@dataclass(frozen=True)
class Name:
    """Where a figure stands, and how it is told.

    Attributes:
        path: keys of the figures of `drive_metrics.summarise`.
        words: what it is.
        unit: %, m, s, ms, or nothing.
    """

    path: tuple[str, ...]
    words: str
    unit: str = "%"


def _names() -> dict[str, Name]:
    names = {}
    for suffix, radius in (("", "25m"), ("/5m", "5m"), ("/10m", "10m"), ("/25m", "25m")):
        for n in (1, 5, 10):
            words = f"recall@{n} within {radius[:-1]} m"
            names[f"recall@{n}{suffix}"] = Name(("recall", radius, f"recall@{n}"), words)
    names |= {
        "error_p50": Name(("error_m", "p50"), "error of the best hypothesis, median", "m"),
        "error_p95": Name(("error_m", "p95"), "error of the best hypothesis, 95th percentile", "m"),
        "answered": Name(("answered_share",), "frames answered"),
        "accepted": Name(("accepted", "share"), "frames accepted as fixes"),
        "precision": Name(("accepted", "precision"), "fixes within 25 m of the truth"),
        "wrong": Name(("accepted", "wrong_share"), "fixes more than 25 m off"),
        "accepted_unmapped": Name(("accepted", "unmapped_share"), "frames beyond the map accepted as fixes"),
        "accepted_error_p50": Name(("accepted", "error_m", "p50"), "error of fixes, median", "m"),
        "accepted_error_p95": Name(("accepted", "error_m", "p95"), "error of fixes, 95th percentile", "m"),
        "recall@99%precision": Name(
            ("precision_recall", "recall_at_99_precision"), "recall at 99 % precision"
        ),
        "calibration_error": Name(("calibration", "error"), "calibration error of the probabilities"),
    }
    for level in (50, 90, 95, 99):
        path = ("coverage", "accepted", f"{level}%")
        names[f"coverage{level}"] = Name(path, f"fixes' errors inside the {level} % ellipse")
    for level in (50, 90, 95, 99):
        path = ("coverage", "right", f"{level}%")
        names[f"right_coverage{level}"] = Name(path, f"right hypotheses' errors inside the {level} % ellipse")
    names |= {
        "time_to_localise": Name(("time_to_localise", "start_s"), "first right fix after the start", "s"),
        "time_after_kidnapping": Name(
            ("time_to_localise", "kidnapped_longest_s"), "first right fix after a kidnapping, longest", "s"
        ),
    }
    for which in ("p50", "p95", "p99"):
        words = "median" if which == "p50" else f"{which[1:]}th percentile"
        names[f"latency_{which}_ms"] = Name(("latency_ms", "total", which), f"latency, {words}", "ms")
    return names


NAMES = _names()


def figure(figures: Mapping[str, Any], name: str) -> float | None:
    """Return a figure by its name; None where it is not known."""
    value = _at(figures, NAMES[name].path)
    return None if value is None else float(value)


def interval(figures: Mapping[str, Any], name: str) -> Interval:
    """Return the 95 % confidence interval of a figure; None where it has none."""
    ends: Interval = _at(figures.get("intervals", {}), NAMES[name].path)
    return ends


def _at(figures: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        figures = figures.get(key) if isinstance(figures, Mapping) else None
    return figures


def told(value: float | None, unit: str) -> str:
    """Return a figure in words, with its unit; a dash where it is not known."""
    if value is None:
        return "–"  # noqa: RUF001  a dash
    if unit == "%":
        return f"{100 * value:.1f} %"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def told_interval(ends: Interval, unit: str) -> str:
    """Return a confidence interval in words; nothing where there is none."""
    if ends is None:
        return ""
    low, high = (told(end, unit).removesuffix(f" {unit}") for end in ends)
    return f"{low} to {high} {unit}"
