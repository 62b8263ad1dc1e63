"""What a drive's figures have to reach."""

from __future__ import annotations

import pytest

from test.error_lines import input_error
from test.some_answers import answer, some_drive, unanswered
from vpr_ros.replays.drive_metrics import summarise
from vpr_ros.replays.figure_names import NAMES, figure
from vpr_ros.replays.requirement import Requirement, parse_requirement, parse_requirements, unmet


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("recall@1>=0.8", Requirement("recall@1", ">=", 0.8)),
        (" recall@1/10m <= 1e-1 ", Requirement("recall@1/10m", "<=", 0.1)),
        ("recall@99%precision>.5", Requirement("recall@99%precision", ">", 0.5)),
        ("latency_p99_ms<40", Requirement("latency_p99_ms", "<", 40.0)),
    ],
)
def test_requirements_are_read(text, parsed):
    assert parse_requirement(text) == parsed
    assert parse_requirement(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "recall@1",
        "recall@1>=",
        "recall@1>=high",
        "recall@1>=nan",
        "recall@1>=inf",
        "recall@1=0.8",
        "recall@1==0.8",
        "recall@1>>0.8",
        "recall@2>=0.8",
        "recall@1>=0.8>0.1",
        "__import__('os')>0",
        "recall@1>=0.8\nx",
    ],
)
def test_what_is_no_requirement_is_refused_with_the_names(text):
    with input_error(repr(text), *NAMES):
        parse_requirement(text)


def test_each_operator():
    figures = summarise([answer(0), unanswered(1)])  # half of the frames are answered
    met = {"answered>=0.5", "answered<=0.5", "answered>0.4", "answered<0.6"}
    missed = {
        "answered>=0.6": ">= 0.6",
        "answered<=0.4": "<= 0.4",
        "answered>0.5": "> 0.5",
        "answered<0.5": "< 0.5",
    }
    assert unmet(parse_requirements(sorted(met)), figures) == []
    assert unmet(parse_requirements(list(missed)), figures) == [
        f"answered is 0.5, required {bound}" for bound in missed.values()
    ]


def test_a_value_is_told_so_that_it_is_seen_to_miss():
    figures = {"answered_share": 0.79996}
    assert unmet(parse_requirements(["answered>=0.8"]), figures) == ["answered is 0.79996, required >= 0.8"]
    figures = {"answered_share": 0.7123456}
    assert unmet(parse_requirements(["answered>=0.8"]), figures) == ["answered is 0.712, required >= 0.8"]


def test_a_figure_that_is_not_known_is_not_met():
    figures = summarise([])
    assert unmet(parse_requirements(["recall@1>=0", "error_p95<100"]), figures) == [
        "recall@1 is not known, required >= 0",
        "error_p95 is not known, required < 100",
    ]
    assert unmet(parse_requirements(["recall@1<=1"]), {}) == ["recall@1 is not known, required <= 1"]


def test_nothing_required_is_met():
    assert unmet(parse_requirements(None), summarise([])) == []


def test_every_name_stands_for_a_figure():
    drive = [*some_drive(50), answer(50, at=9000.0)]  # kidnapped at the end
    figures = summarise(drive)
    assert [name for name in NAMES if figure(figures, name) is None] == []
    assert (
        figure(figures, "recall@1") == figure(figures, "recall@1/25m") == figures["recall"]["25m"]["recall@1"]
    )
