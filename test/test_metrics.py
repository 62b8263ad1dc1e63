"""Recall, errors and the figures of a drive, against cases made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.conftest import DATUM
from vpr_ros.drive_metrics import FrameAnswer, errors, summarise, table, with_truth
from vpr_ros.geodesy import to_geodetic
from vpr_ros.geotagged import make_rows
from vpr_ros.metrics import has_positive, percentiles, recall_at


def numbers(*values):
    return np.array(values, np.int64)


def rows_at(*east):
    geodetic = to_geodetic([[metres, 0.0, 0.0] for metres in east], DATUM).reshape(-1, 3)
    return make_rows("test", latitude=geodetic[:, 0], longitude=geodetic[:, 1])


def answer(row, east=0.0, places=(), accepted=True, latency=0.01, north=0.0):
    latitude, longitude, _ = to_geodetic([east, north, 0.0], DATUM)
    return FrameAnswer(row, tuple(places), float(latitude), float(longitude), 0.9, accepted, latency)


# --- recall


def test_recall_by_hand():
    retrieved = [numbers(3, 1, 2), numbers(5, 6, 7), numbers(9, 8, 4), numbers(), numbers(1)]
    positives = [numbers(3), numbers(7, 0), numbers(0), numbers(1), numbers()]
    assert recall_at(retrieved, positives, [1, 2, 3, 10]) == {1: 0.2, 2: 0.2, 3: 0.4, 10: 0.4}


def test_recall_of_no_query_is_unknown():
    assert recall_at([], [], [1, 5]) == {1: None, 5: None}


def test_recall_wants_an_answer_for_each_query():
    with pytest.raises(ValueError, match="zip"):
        recall_at([numbers(1)], [numbers(1), numbers(2)], [1])


some_places = st.lists(st.integers(0, 15), max_size=8, unique=True)


@settings(max_examples=60, deadline=None)
@given(queries=st.lists(st.tuples(some_places, some_places), min_size=1, max_size=12))
def test_recall_rises_with_n_and_is_a_share(queries):
    retrieved = [numbers(*found) for found, _ in queries]
    positives = [numbers(*near) for _, near in queries]
    recalls = recall_at(retrieved, positives, range(1, 10))
    values = list(recalls.values())
    assert values == sorted(values)
    assert values[-1] == sum(bool(set(found) & set(near)) for found, near in queries) / len(queries)
    assert values[0] == sum(found[:1] != [] and found[0] in near for found, near in queries) / len(queries)


def test_has_positive():
    assert has_positive([numbers(1), numbers(), numbers(0)]).tolist() == [True, False, True]
    assert has_positive([]).dtype == bool


def test_percentiles():
    assert percentiles(np.arange(101)) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([7.0], (50,)) == {"p50": 7.0}
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}


# --- a drive


def test_errors_are_metres_on_the_ground():
    truth = rows_at(0.0, 100.0, 200.0)
    answers = [answer(0, 3.0), answer(1, 100.0, north=-7.5), answer(2, 200.0)]
    assert errors(answers, truth) == pytest.approx([3.0, 7.5, 0.0], abs=1e-3)


@pytest.mark.parametrize("latitude", [-89.9, -45.0, 0.0, 60.0, 89.9])
def test_errors_do_not_depend_on_where_on_earth(latitude):
    from vpr_ros.geodesy import Datum

    datum = Datum(latitude, 179.99999)  # across the antimeridian
    geodetic = to_geodetic([[0.0, 0.0, 0.0], [6.0, 8.0, 0.0]], datum)
    truth = make_rows("test", latitude=geodetic[:1, 0], longitude=geodetic[:1, 1])
    found = FrameAnswer(0, (), float(geodetic[1, 0]), float(geodetic[1, 1]), 1.0, True, 0.0)
    assert errors([found], truth) == pytest.approx([10.0], abs=1e-3)


def test_answers_without_truth_are_set_aside():
    answers = [answer(4), answer(None), answer(2)]
    known, rows = with_truth(answers)
    assert known == [answers[0], answers[2]]
    assert rows.tolist() == [4, 2]


def test_a_drive_by_hand():
    """Places at 0, 100 and 200 m; six frames went in.

    Frames at 5 (right), 112 (within 25 m, not 10), 200 (a wrong place, then the right one), 260 m (beyond the
    map), and one without truth.
    """
    truth, places = rows_at(5.0, 112.0, 200.0, 260.0), rows_at(0.0, 100.0, 200.0)
    answers = [
        answer(0, 6.0, (0, 1, 2), latency=0.010),
        answer(1, 100.0, (1, 0), accepted=False, latency=0.020),
        answer(2, 100.0, (1, 2), latency=0.030),
        answer(3, 250.0, (2,), latency=0.040),
        answer(None, 0.0, (0,), latency=0.050),
    ]
    figures = summarise(answers, truth, places, 6)
    assert figures["frames"] == {"in": 6, "answered": 5, "dropped": 1}
    assert (figures["mapped"], figures["unmapped"]) == (3, 1)
    assert figures["recall"]["10m"] == pytest.approx(
        {"recall@1": 1 / 3, "recall@5": 2 / 3, "recall@10": 2 / 3}
    )
    assert figures["recall"]["25m"] == pytest.approx({"recall@1": 2 / 3, "recall@5": 1, "recall@10": 1})
    # errors of the mapped are 1, 12 and 100 m; of the accepted 1, 100 and 10 m
    assert figures["error_m"]["p50"] == pytest.approx(12, abs=1e-3)
    accepted = figures["accepted"]
    assert accepted["share"] == 0.75
    assert accepted["error_m"]["p50"] == pytest.approx(10, abs=1e-3)
    assert (accepted["wrong_25m"], accepted["unmapped"]) == (1, 1)
    assert figures["latency_ms"]["p50"] == pytest.approx(30)


def test_answers_in_another_order_give_the_same_figures():
    truth, places = rows_at(*range(0, 200, 10)), rows_at(*range(0, 200, 7))
    generator = np.random.default_rng(0)
    answers = [
        answer(row, float(generator.uniform(0, 200)), generator.permutation(29)[:10].tolist(), bool(row % 3))
        for row in range(20)
    ]
    shuffled = [answers[n] for n in generator.permutation(20)]
    assert summarise(shuffled, truth, places, 20) == summarise(answers, truth, places, 20)


NOTHING = {
    "no answer": ([], 5),
    "no frame": ([], 0),
    "none with truth": ([answer(None)], 3),
    "none mapped": ([answer(1, 5000.0, (0,))], 1),
    "none accepted": ([answer(0, 0.0, (0,), accepted=False)], 1),
}


@pytest.mark.parametrize(("answers", "sent"), NOTHING.values(), ids=NOTHING)
def test_a_drive_with_nothing_to_measure_still_has_its_table(answers, sent):
    figures = summarise(answers, rows_at(0.0, 5000.0), rows_at(0.0, 10.0), sent)
    assert figures["frames"] == {"in": sent, "answered": len(answers), "dropped": sent - len(answers)}
    assert figures["accepted"]["wrong_25m"] == 0
    lines = table(figures)
    for row in (
        "recall within 10m",
        "recall within 25m",
        "error, best hypothesis, m",
        "error, accepted fixes, m",
        "latency, ms",
        f"frames: {sent} in, {len(answers)} answered, {sent - len(answers)} dropped",
        "fixes:  0.0%" if not any(a.accepted and a.row is not None for a in answers) else "fixes:  100.0%",
    ):
        assert row in lines


def test_the_table_shows_the_figures():
    figures = summarise([answer(0, 3.0, (1,), latency=0.0125)], rows_at(0.0), rows_at(0.0, 15.0), 2)
    lines = table(figures).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["recall", "within", "10m", "0.000", "0.000", "0.000"],
        ["recall", "within", "25m", "1.000", "1.000", "1.000"],
    ]
    assert lines[4].split()[-2:] == ["3.00", "3.00"]
    assert lines[6].split()[-3:] == ["12.50"] * 3
    assert "100.0% of answers accepted; of these 0 wrong" in lines[-1]
