"""Recall while training, against all distances at once, sorted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from test.sharing import in_processes, looked_up, rows_at, unit_descriptors
from training.learning import validation
from training.learning.validation import Validation

few = settings(max_examples=40, deadline=None, derandomize=True)
CPU = torch.device("cpu")
RADIUS = 25.0


def expected(metres, descriptors, maps, ns):
    """Return the queries that have an answer, and recall@N; `maps` tells who asks and who answers."""
    queries, count, hits = set(), 0, dict.fromkeys(ns, 0)
    for asks, answers in maps:
        for query in filter(asks, range(len(metres))):
            allowed = [row for row in range(len(metres)) if answers(row)]
            right = {row for row in allowed if math.dist(metres[query], metres[row]) <= RADIUS}
            if not right:
                continue
            queries.add(query)
            count += 1
            distances = np.linalg.norm(descriptors - descriptors[query], axis=1)
            ranked = sorted(allowed, key=lambda row, distances=distances: distances[row])
            for n in ns:
                hits[n] += bool(right & set(ranked[:n]))
    return sorted(queries), {n: hits[n] / max(1, count) for n in ns}


def recalls(judge, descriptors, ns, processes=1, block=4096):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "BLOCK", block)
        each = in_processes(
            processes,
            lambda share, total: judge.recalls(
                looked_up(descriptors), descriptors.shape[1], CPU, ns, share, total
            ),
        )
    assert all(found == each[0] for found in each)
    return each[0]


@few
@given(
    seed=st.integers(0, 999),
    count=st.integers(4, 30),
    names=st.sampled_from(["a", "ab", "abc", "named"]),
    processes=st.integers(1, 3),
    block=st.sampled_from([1, 4, 4096]),
)
def test_recall_is_what_sorting_all_distances_gives(seed, count, names, processes, block):
    random = np.random.default_rng(seed)
    metres = random.uniform(0, 100, (count, 2))
    sessions = random.choice(list(names), count)
    descriptors = unit_descriptors(count, 3, seed)
    ns = [1, 2, 5, 10, 99]
    options = {}
    if names == "named":  # a map and those who look for themselves on it, and some that are neither
        role = random.integers(0, 3, count)
        options = {"queries": role < 2, "database": role == 1}  # which on a map would find itself
        maps = [(lambda row: role[row] == 0, lambda row: role[row] == 1)]
    elif len(set(sessions)) > 1:
        maps = [
            (lambda row, name=name: sessions[row] != name, lambda row, name=name: sessions[row] == name)
            for name in sorted(set(sessions))
        ]
    else:  # every other image is looked for among the rest, and they among these
        maps = [(lambda row, odd=odd: row % 2 != odd, lambda row, odd=odd: row % 2 == odd) for odd in (0, 1)]
    queries, figures = expected(metres, descriptors.numpy(), maps, ns)
    rows = rows_at(metres, sessions)
    if not queries:
        with input_error(f"none of {count} validation images", "25 m", "give validation drives"):
            Validation(rows, RADIUS, **options)
        return
    judge = Validation(rows, RADIUS, **options)
    assert judge.queries.tolist() == queries
    assert recalls(judge, descriptors, ns, processes, block) == pytest.approx(figures)


def test_its_own_session_never_answers_however_like_it_is():
    """A robot that stands still looks like itself: a recall of 1 that says nothing."""
    metres = [(0, 0), (0, 1), (0, 2), (90, 0), (90, 1)]
    rows = rows_at(metres, ["day", "day", "night", "day", "night"])
    alike = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
    # the three at 0 m find 90 m first, in the other light; the two at 90 m find each other
    found = recalls(Validation(rows, RADIUS), alike, [1, 2])
    assert found == {1: pytest.approx(2 / 5), 2: 1.0}
