"""The figures of a drive, from answers made by hand."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from test.some_answers import STEP, answer, some_drive, unanswered, without_truth
from vpr_ros.replays.answers import FrameAnswer
from vpr_ros.replays.drive_metrics import summarise, table
from vpr_ros.replays.figure_names import NAMES, figure, interval, told, told_interval
from vpr_ros.replays.frame_arrays import as_arrays
from vpr_ros.replays.time_to_localise import Wait, waits

FAR = 5 * [100.0]


def by_hand() -> list[FrameAnswer]:
    """Return seven frames: right, close, wrong, beyond the map, unanswered twice, without truth."""
    return [
        answer(0, 3.0, 4.0, [4.0, *FAR], probability=0.9, latency=0.010),
        answer(1, 0.0, 12.0, [12.0, *FAR], probability=0.6, accepted=False, latency=0.020),
        answer(2, 60.0, 80.0, [100.0, 3.0], probability=0.7, latency=0.030),
        answer(3, -30.0, 0.0, [30.0], probability=0.8, mapped_m=40.0, latency=0.040),
        unanswered(4),
        unanswered(5, "does not decode"),
        without_truth(6, latency=0.050, stages={"encode": 0.015, "search": 0.001}),
    ]


def test_frames_are_counted_by_their_fate():
    assert summarise([*by_hand(), unanswered(7)])["frames"] == {
        "in": 8,
        "answered": 5,
        "unanswered": {"superseded": 2, "does not decode": 1},
        "mapped": 6,
        "unmapped": 1,
        "without_truth": 1,
        "seconds": 7.0,
    }


def test_recall_counts_unanswered_frames_as_failures():
    # mapped: 0, 1, 2 answered, 4 and 5 not
    recall = summarise(by_hand())["recall"]
    assert recall["5m"] == {"recall@1": 0.2, "recall@5": 0.4, "recall@10": 0.4}
    assert recall["10m"] == {"recall@1": 0.2, "recall@5": 0.4, "recall@10": 0.4}
    assert recall["25m"] == {"recall@1": 0.4, "recall@5": 0.6, "recall@10": 0.6}


def test_recall_looks_at_the_first_n_places():
    places = [99.0] * 5 + [1.0] + [99.0] * 4 + [1.0]
    recall = summarise([answer(0, place_m=places), answer(1, place_m=[99.0] * 10 + [1.0])])["recall"]["25m"]
    assert recall == {"recall@1": 0.0, "recall@5": 0.0, "recall@10": 0.5}


@pytest.mark.parametrize(("metres", "found"), [(25.0, 1.0), (25.0001, 0.0)])
def test_25_m_is_still_right(metres, found):
    figures = summarise([answer(0, metres, place_m=[metres])])
    assert figures["recall"]["25m"]["recall@1"] == found
    assert figures["accepted"]["precision"] == found


def test_errors_and_fixes_by_hand():
    figures = summarise(by_hand())
    # of mapped frames 5, 12 and 100 m; of fixes with a truth 5, 100 and 30 m
    assert figures["error_m"] == {"p50": 12.0, "p95": pytest.approx(91.2)}
    accepted = figures["accepted"]
    assert (accepted["count"], accepted["share"]) == (4, pytest.approx(4 / 7))
    assert (accepted["with_truth"], accepted["wrong"]) == (3, 2)
    assert (accepted["wrong_share"], accepted["precision"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert accepted["error_m"]["p50"] == 30.0
    assert (accepted["unmapped"], accepted["unmapped_share"]) == (1, 1.0)
    assert figures["answered_share"] == pytest.approx(5 / 7)


def test_recall_at_99_precision_by_hand():
    # 0.9 is right, 0.8 and 0.7 are wrong: one of five mapped frames before the first mistake
    assert summarise(by_hand())["precision_recall"] == {"recall_at_99_precision": 0.2, "threshold": 0.9}
    assert summarise([answer(0, 99.0)])["precision_recall"] == {
        "recall_at_99_precision": 0.0,
        "threshold": None,
    }


def test_a_right_answer_beyond_the_map_adds_precision_and_no_recall():
    answers = [answer(0), answer(1, mapped_m=26.0), unanswered(2)]
    assert summarise(answers)["precision_recall"] == {"recall_at_99_precision": 0.5, "threshold": 0.8}


def test_fixes_beyond_the_map_are_counted():
    beyond = [answer(n, mapped_m=26.0, accepted=n == 0) for n in range(4)]
    accepted = summarise([*beyond, answer(4)])["accepted"]
    assert (accepted["unmapped"], accepted["unmapped_share"]) == (1, 0.25)


def test_calibration_is_of_every_answer_with_a_truth():
    calibration = summarise(by_hand())["calibration"]
    assert sum(each["count"] for each in calibration["bins"]) == 4
    # bins of one: |0.6 - 1|, |0.7 - 0|, |0.8 - 0|, |0.9 - 1|
    assert calibration["error"] == pytest.approx((0.4 + 0.7 + 0.8 + 0.1) / 4)


def test_coverage_is_of_right_hypotheses_and_of_fixes():
    # squared sigmas: 25 / 9 = 2.8, 144 / 9 = 16, 10 000 / 9 and 100; the ellipses end at 1.4, 4.6, 6.0, 9.2
    coverage = summarise(by_hand())["coverage"]
    assert coverage["right"] == {"50%": 0.0, "90%": 0.5, "95%": 0.5, "99%": 0.5}
    assert coverage["accepted"] == {name: pytest.approx(share) for name, share in
        {"50%": 0.0, "90%": 1 / 3, "95%": 1 / 3, "99%": 1 / 3}.items()}  # fmt: skip


def test_latency_in_all_and_by_stage():
    latency = summarise(by_hand())["latency_ms"]
    assert latency["total"]["p50"] == pytest.approx(30)
    assert latency["stages"]["encode"]["p99"] == pytest.approx(15)
    assert latency["stages"]["search"] == dict.fromkeys(("p50", "p95", "p99"), pytest.approx(1))


def test_the_order_of_the_answers_does_not_matter():
    answers = some_drive(60)
    assert summarise(answers[::-1]) == summarise(answers)


def test_the_figures_are_the_same_each_time_and_as_json():
    figures = summarise(some_drive(60))
    assert figures == summarise(some_drive(60))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_every_interval_holds_its_figure():
    figures = summarise(some_drive(400))
    named = [name for name in NAMES if interval(figures, name) is not None]
    assert {"recall@1", "recall@5/10m", "error_p50", "accepted", "precision", "coverage95"} <= set(named)
    for name in named:
        low, high = interval(figures, name)
        assert low < figure(figures, name) < high, name
    assert figures["stretches"] == {"frames": 20, "seconds": 20.0, "draws": 1000}


NOTHING = {
    "no frame": [],
    "one frame": [answer(0)],
    "no answer": [unanswered(number) for number in range(20)],
    "no truth": [without_truth(number) for number in range(20)],
    "nothing mapped": [answer(number, mapped_m=99.0) for number in range(20)],
    "nothing accepted": [answer(number, accepted=False) for number in range(20)],
    "no latency, no stage": [replace(answer(number), latency=np.nan, stages={}) for number in range(20)],
    "no ellipse": [replace(answer(number), var_east=np.nan) for number in range(20)],
    "no probability": [replace(answer(number), probability=np.nan) for number in range(20)],
    "one stamp": [replace(answer(number), stamp=5) for number in range(20)],
}


@pytest.mark.parametrize("answers", NOTHING.values(), ids=NOTHING)
def test_a_drive_with_nothing_to_measure_still_has_its_figures_and_table(answers):
    figures = summarise(answers)
    json.dumps(figures, allow_nan=False)
    assert figures["frames"]["in"] == len(answers)
    assert f"frames: {len(answers)} in" in table(figures)


def test_what_cannot_be_measured_is_none():
    figures = summarise(NOTHING["no truth"])
    unknown = [name for name in NAMES if figure(figures, name) is None]
    assert {"recall@1", "error_p50", "precision", "calibration_error", "coverage95"} <= set(unknown)
    assert figure(figures, "accepted") == 1.0


def test_the_table_shows_the_figures():
    lines = table(summarise(by_hand())).splitlines()
    assert lines[1].split() == ["recall", "within", "5m", "0.200", "0.400", "0.400"]
    assert lines[5].split()[-2:] == ["12.00", "91.20"]
    assert "7 in, 5 answered, 2 without an answer" in lines[8]
    assert "57.1% of frames accepted; of these 2 wrong by more than 25 m, 1 beyond the map" in lines[10]


def test_ten_thousand_frames_take_about_a_second():
    answers = some_drive(10_000)
    started = time.process_time()
    summarise(answers)
    assert time.process_time() - started < 3.0  # 0.5 s on an idle machine


# --- how long until the first right fix


def test_the_wait_at_the_start_ends_with_the_first_right_fix():
    answers = [
        unanswered(0),
        answer(1, accepted=False),
        answer(2, 99.0),
        without_truth(3),
        answer(4, 25.0),
        answer(5),
    ]
    assert waits(as_arrays(answers)) == [Wait(0.0, 4.0)]


def test_each_kidnapping_has_its_wait():
    lost = {"accepted": False}
    places = [0.0, 5.0, 505.0, 510.0, 515.0, 2000.0, 2005.0, 90.0]
    changes = [{}, {}, lost, lost, {}, lost, lost, {}]
    answers = [answer(n, at=at, **more) for n, (at, more) in enumerate(zip(places, changes, strict=True))]
    assert waits(as_arrays(answers)) == [
        Wait(0.0, 0.0),
        Wait(2.0, 2.0),
        Wait(5.0, None),  # moved on before it knew
        Wait(7.0, 0.0),
    ]
    figures = summarise(answers)["time_to_localise"]
    assert figures["kidnapped"][1] == {"at_s": 5.0, "seconds": None}
    assert figures["kidnapped_longest_s"] is None
    assert summarise(answers[:5])["time_to_localise"]["kidnapped_longest_s"] == 2.0


@pytest.mark.parametrize(("metres", "kidnapped"), [(64.9, 0), (65.1, 1)])
def test_a_jump_is_more_than_25_m_and_40_m_a_second(metres, kidnapped):
    assert len(waits(as_arrays([answer(0, at=0.0), answer(1, at=metres)]))) == 1 + kidnapped


def test_a_stretch_without_truth_is_no_kidnapping():
    answers = [answer(0), *(without_truth(number) for number in range(1, 20)), answer(20, at=20 * STEP + 700)]
    assert len(waits(as_arrays(answers))) == 1


def test_a_drive_without_a_right_fix_waits_for_ever():
    assert waits(as_arrays([answer(0, 99.0), unanswered(1)])) == [Wait(0.0, None)]
    assert waits(as_arrays([])) == []


# --- in words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.8346, "%", "83.5 %"), (2.345, "m", "2.35 m"), (23.45, "m", "23.4 m"), (234.5, "ms", "234 ms"),
     (99.97, "s", "100 s"), (9.999, "s", "10.0 s"), (None, "m", "–")],  # noqa: RUF001
)  # fmt: skip
def test_figures_are_told_with_their_unit(value, unit, text):
    assert told(value, unit) == text


def test_intervals_are_told_with_their_unit():
    assert told_interval([0.5, 0.75], "%") == "50.0 to 75.0 %"
    assert told_interval(None, "%") == ""
