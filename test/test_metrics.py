"""Recall and percentiles, against cases made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.metrics import has_positive, percentiles, recall_at


def numbers(*values):
    return np.array(values, np.int64)


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
