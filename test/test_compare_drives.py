"""Two replays of one drive, frame by frame."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from test.error_lines import input_error
from test.html_page import Page, check_stands_alone
from test.some_answers import answer, some_drive, unanswered, without_truth
from vpr_ros.compare_drives import compare_drives
from vpr_ros.replays.answers import write_answers
from vpr_ros.replays.drive_metrics import summarise
from vpr_ros.replays.frame_arrays import as_arrays
from vpr_ros.replays.paired import changed_sides, common_frames, differences


def by_words(first, second):
    return {each.words: each for each in differences(as_arrays(first), as_arrays(second))}


def run_folder(folder, answers):
    folder.mkdir(parents=True)
    write_answers(folder / "answers.csv", answers)
    return folder


# --- what differs


def test_differences_are_those_of_the_figures():
    first, second = some_drive(200), some_drive(200, seed=1)
    # the same frames on the map and with a truth
    both = [
        (one, other)
        for one, other in zip(first, second, strict=True)
        if one.mapped_m == other.mapped_m == 1.0
    ]
    first, second = map(list, zip(*both, strict=True))
    rows = by_words(first, second)
    figures = [summarise(each) for each in (first, second)]
    for n in (1, 5, 10):
        row = rows[f"recall@{n} within 25 m"]
        expected = [each["recall"]["25m"][f"recall@{n}"] for each in figures]
        assert [row.first, row.second] == pytest.approx(expected)
        assert row.change == pytest.approx(expected[1] - expected[0])
    accepted = rows["frames accepted as fixes"]
    assert [accepted.first, accepted.second] == [each["accepted"]["share"] for each in figures]
    wrong = rows["frames with a wrong fix"]
    assert wrong.first * len(first) == pytest.approx(figures[0]["accepted"]["wrong"])


def test_errors_are_compared_where_both_answered():
    first = [answer(0, 4.0), answer(1, 100.0), unanswered(2)]
    second = [answer(0, 6.0), unanswered(1), answer(2, 100.0)]
    row = by_words(first, second)["error of the best hypothesis, median"]
    assert (row.first, row.second, row.change) == (4.0, 6.0, 2.0)


def test_a_run_does_not_differ_from_itself():
    drive = some_drive(100)
    for row in by_words(drive, drive).values():
        assert row.change == 0.0
        assert row.interval == [0.0, 0.0]
        assert not row.clear


def test_a_clear_difference_and_one_by_chance():
    draw = np.random.default_rng(0)
    first = [answer(n, place_m=[99.0 if n % 4 else 1.0]) for n in range(300)]
    better = [answer(n, place_m=[99.0 if n % 4 == 1 else 1.0]) for n in range(300)]
    shuffled = [
        replace(each, stamp=number.stamp) for each, number in zip(draw.permutation(first), first, strict=True)
    ]
    assert by_words(first, better)["recall@1 within 25 m"].clear
    assert by_words(first, better)["recall@1 within 25 m"].change == pytest.approx(0.5)
    assert not by_words(first, shuffled)["recall@1 within 25 m"].clear


def test_pairing_sees_what_each_run_alone_does_not():
    """Both fail along the same stretches; the second gains one frame in twenty, everywhere."""
    hard = np.repeat(np.random.default_rng(0).random(30) < 0.5, 20)
    first = [answer(n, place_m=[99.0 if hard[n] or n % 20 == 0 else 1.0]) for n in range(600)]
    second = [answer(n, place_m=[99.0 if hard[n] and n % 20 else 1.0]) for n in range(600)]
    low, high = by_words(first, second)["recall@1 within 25 m"].interval
    alone = [summarise(each)["intervals"]["recall"]["25m"]["recall@1"] for each in (first, second)]
    assert 0.0 < low <= 0.05 <= high
    assert alone[0][1] > alone[1][0]  # they overlap
    assert high - low < 0.1 * (alone[0][1] - alone[0][0])


@pytest.mark.parametrize(
    "answers", [[unanswered(n) for n in range(12)], [without_truth(n) for n in range(12)], [answer(0)]]
)
def test_nothing_to_measure_is_no_difference(answers):
    for row in by_words(answers, answers).values():
        assert row.change in (None, 0.0)
        assert not row.clear


def test_frames_are_matched_by_stamp():
    first, second = [answer(n) for n in (0, 1, 2, 5)], [answer(n) for n in (5, 2, 7)]
    common = common_frames(as_arrays(first), as_arrays(second))
    assert [[line.row for line in frames.answers] for frames in common] == [[2, 5], [2, 5]]


def test_frames_change_sides():
    first = [answer(0, 99.0), answer(1), answer(2), unanswered(3), answer(4, 99.0, mapped_m=40.0)]
    second = [answer(0), answer(1, 99.0), answer(2), answer(3), answer(4)]
    sides = changed_sides(as_arrays(first), as_arrays(second))
    assert sides == {"gained": [0, 3], "lost": [1]}


# --- the command


def test_two_replays_side_by_side(tmp_path, capsys):
    first, second = some_drive(60), some_drive(60, seed=1)
    folders = [
        run_folder(tmp_path / name / "<b>run", each[start:])
        for name, each, start in (("one", first, 0), ("two", second, 10))
    ]
    figures = compare_drives(*folders, tmp_path / "out")
    assert figures["common"] == 50
    assert len(figures["gained"]) == 3
    assert set(figures["gained"]) <= {each.stamp for each in first[10:]}
    assert json.loads((tmp_path / "out" / "differences.json").read_text()) == figures
    printed = capsys.readouterr().out
    assert "50 frames of both" in printed
    assert "recall@1 within 25 m" in printed
    page = Page(tmp_path / "out" / "report.html")
    check_stands_alone(page)
    assert "one/<b>run and two/<b>run" in page.text
    assert "50 frames of both" in page.text
    assert str(figures["gained"][0]) in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 7


def test_a_run_beside_itself(tmp_path):
    folder = run_folder(tmp_path / "run", some_drive(20))
    figures = compare_drives(folder, folder, tmp_path / "out")
    assert figures["gained"] == figures["lost"] == []


def test_replays_without_a_common_frame_are_refused(tmp_path):
    folders = [run_folder(tmp_path / str(n), [answer(n)]) for n in range(2)]
    with input_error(*folders, "share no frame"):
        compare_drives(*folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_replay_did_not_write_is_refused(tmp_path):
    folder = run_folder(tmp_path / "run", [answer(0)])
    with input_error(tmp_path / "none", "answers.csv", "expected"):
        compare_drives(folder, tmp_path / "none", tmp_path / "out")
    (folder / "answers.csv").write_text("row,places\n1,2\n")
    with input_error("answers.csv", "expected"):
        compare_drives(folder, folder, tmp_path / "out")
