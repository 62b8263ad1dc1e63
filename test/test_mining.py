"""Mining against the recipe: all descriptors in one matrix, one query and one image at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from test.sharing import in_processes, looked_up, rows_at, unit_descriptors
from training.learning.mining import (
    Candidates,
    Mining,
    candidate_similarities,
    choose_tuples,
    draw_candidates,
)
from training.learning.supervision import Radii, Supervision

few = settings(max_examples=25, deadline=None, derandomize=True)
CPU = torch.device("cpu")
MARGIN = 0.1


def world(seed, count=60):
    """Return where images were taken, in which session, and their descriptors: two drives in a small area."""
    random = np.random.default_rng(seed)
    metres = random.uniform(0, [120, 40], (count, 2))
    sessions = random.choice(["dawn", "dusk"], count)
    # what lies near looks alike, more or less, so that some negatives violate and some do not
    seen = unit_descriptors(count, 4, seed).numpy() + 0.7 * np.cos(metres[:, :1] / 30 + np.arange(4))
    return metres, sessions, seen / np.linalg.norm(seen, axis=1, keepdims=True)


def squared_distances(descriptors):
    return ((descriptors[:, None] - descriptors) ** 2).sum(axis=2)


def recipe(metres, sessions, distances, query, kept, remembered):
    """Return best positive, violating negatives and remembered ones of a query; None if it has no tuple.

    `distances` are the squared ones of the query to every image.
    """
    positives, negatives = [], []
    for image in range(len(metres)):
        away = math.dist(metres[query], metres[image])
        if image != query and away <= 10 and (sessions[image] != sessions[query] or away > 1):
            positives.append(image)
        if away > 25:
            negatives.append(image)
    if not positives or not negatives:
        return None
    best = min(positives, key=lambda image: distances[image])
    negatives.sort(key=lambda image: distances[image])
    violating = [image for image in negatives if distances[best] + MARGIN > distances[image]]
    return best, violating[:kept], negatives[:remembered]


def mine(supervision, queries, descriptors, mining, seed=0, remembered=None, processes=1):
    """Return the tuples of one period, which have to be the same in all processes."""

    def work(share, total):
        random = np.random.default_rng(seed)
        candidates = draw_candidates(supervision, queries, remembered or {}, mining.drawn, random)
        scores = candidate_similarities(
            candidates, looked_up(descriptors), descriptors.shape[1], CPU, share, total
        )
        return choose_tuples(candidates, scores, mining, MARGIN)

    each = in_processes(processes, work)
    assert all(as_lists(tuples) == as_lists(each[0]) for tuples in each)
    return each[0]


def as_lists(tuples):
    negatives, hardest = ([rows.tolist() for rows in part] for part in (tuples.negatives, tuples.hardest))
    return tuples.queries.tolist(), tuples.positives.tolist(), negatives, hardest


@few
@given(
    seed=st.integers(0, 999),
    kept=st.integers(1, 12),
    remembered=st.integers(0, 12),
    processes=st.integers(1, 3),
)
def test_tuples_are_the_recipes_with_any_number_of_processes(seed, kept, remembered, processes):
    metres, sessions, descriptors = world(seed)
    expected = {
        query: recipe(metres, sessions, distances, query, kept, remembered)
        for query, distances in enumerate(squared_distances(descriptors))
    }
    supervision = Supervision(rows_at(metres, sessions), Radii())
    assert supervision.queries.tolist() == [query for query, found in expected.items() if found]
    queries = np.random.default_rng(seed).permutation(supervision.queries)
    mining = Mining(drawn=len(metres), kept=kept, remembered=remembered)
    tuples = mine(supervision, queries, torch.from_numpy(descriptors).float(), mining, seed, None, processes)
    found = dict(zip(queries.tolist(), zip(*as_lists(tuples)[1:])))
    assert found == {query: found for query, found in expected.items() if found}


@few
@given(seed=st.integers(0, 99), drawn=st.integers(1, 8))
def test_candidates_are_positives_drawn_negatives_and_those_remembered(seed, drawn):
    metres, sessions, _ = world(seed)
    supervision = Supervision(rows_at(metres, sessions), Radii())
    random = np.random.default_rng(seed)
    queries = random.permutation(supervision.queries)[:10]
    remembered = {int(query): supervision.draw_negatives(query, 3, random) for query in queries[::2]}
    candidates = draw_candidates(supervision, queries, remembered, drawn, random)
    assert (np.diff(candidates.row) >= 0).all()
    for number, query in enumerate(queries.tolist()):
        own = candidates.owner == number
        positives = candidates.row[own & candidates.positive]
        assert sorted(positives) == supervision.positives[query].tolist()
        negatives = candidates.row[own & ~candidates.positive].tolist()
        far = set(range(len(metres))) - set(supervision.near(query).tolist())
        old = set(remembered.get(query, np.empty(0)).tolist())
        assert len(set(negatives)) == len(negatives)
        assert old <= set(negatives) <= far
        # as many new ones as were asked for, of which some may have been remembered
        assert min(drawn, len(far)) <= len(negatives) <= drawn + len(old)


@pytest.mark.parametrize("earlier", [False, True])
def test_on_a_map_all_candidates_are_of_one_session(earlier):
    """Also where what a query remembers is from when it was looked for on another map."""
    metres, _, _ = world(3)
    sessions = np.random.default_rng(3).choice(["dawn", "noon", "dusk"], len(metres))
    supervision = Supervision(rows_at(metres, sessions), Radii(sessions="map"))
    queries, remembered, maps = supervision.queries, {}, set()
    for turn in range(6):
        candidates = draw_candidates(supervision, queries, remembered, 5, np.random.default_rng(turn))
        for number, query in enumerate(queries.tolist()):
            own = candidates.owner == number
            used = set(sessions[candidates.row[own]])
            if {sessions[row] for row in supervision.positives[query]} != {sessions[query]}:
                assert len(used) == 1
                assert used != {sessions[query]}
                maps |= {(query, *used)}
            if earlier:
                remembered[query] = candidates.row[own & ~candidates.positive][:2]
    assert len(maps) > len(queries)  # they were looked for on more than one


def test_what_was_hard_once_is_tried_again():
    """While the features stay, the remembered ones are the hardest of all that were ever drawn."""
    metres, sessions, descriptors = world(3)
    supervision = Supervision(rows_at(metres, sessions), Radii())
    distances, mining = squared_distances(descriptors), Mining(drawn=3, kept=2, remembered=4)
    remembered, seen = {}, {query: set() for query in supervision.queries.tolist()}
    for turn in range(8):
        queries = np.random.default_rng(turn).permutation(supervision.queries)
        candidates = draw_candidates(supervision, queries, remembered, 3, np.random.default_rng([5, turn]))
        for owner, row, positive in zip(candidates.owner, candidates.row, candidates.positive):
            if not positive:
                seen[int(queries[owner])].add(int(row))
        tuples = mine(
            supervision, queries, torch.from_numpy(descriptors).float(), mining, [5, turn], remembered
        )
        remembered = dict(zip(queries.tolist(), tuples.hardest))
        for query, rows in remembered.items():
            by_distance = sorted(seen[query], key=lambda row: distances[query, row])
            assert rows.tolist() == by_distance[:4]
    assert max(map(len, seen.values())) > 12  # it has been drawing


# --- the choice, by numbers -------------------------------------------------------------------------------


def choose(positives, negatives, margin=MARGIN, **options):
    """Return (positive, negatives, hardest) of query 100, from similarities by row."""
    entries = sorted([(row, s, True) for row, s in positives] + [(row, s, False) for row, s in negatives])
    rows, scores, positive = (np.array(column) for column in zip(*entries))
    candidates = Candidates(np.array([100]), np.zeros(len(rows), np.intp), rows, positive)
    tuples = choose_tuples(candidates, scores.astype(np.float32), Mining(**options), margin)
    return tuples.positives[0], tuples.negatives[0].tolist(), tuples.hardest[0].tolist()


@pytest.mark.parametrize(("distance", "violates"), [(0.9, True), (1.048, True), (1.049, False), (1.3, False)])
def test_the_margin_is_one_of_squared_distances(distance, violates):
    """At d(q, p) = 1 a negative violates up to sqrt(1.1) = 1.0488; ports with unsquared ones say 1.316."""
    _, negatives, hardest = choose([(0, 0.5)], [(1, 1 - distance**2 / 2)])
    assert negatives == ([1] if violates else [])
    assert hardest == [1]  # remembered before the test


def test_a_negative_exactly_at_the_margin_does_not_violate():
    # d^2 is 0.5 to the positive, 1 to the negative: exact in binary
    assert choose([(0, 0.75)], [(1, 0.5)], margin=0.5)[1] == []
    assert choose([(0, 0.75)], [(1, 0.5 + 2**-20)], margin=0.5)[1] == [1]


def test_numbers_kept_and_remembered_have_nothing_to_do_with_each_other():
    negatives = [(row, row / 16) for row in range(16)]
    assert choose([(20, 0.5), (21, 0.75), (22, 0.25)], negatives, kept=3, remembered=5) == (
        21,
        [15, 14, 13],
        [15, 14, 13, 12, 11],
    )
    few_remembered = choose([(21, 0.75)], negatives, kept=9, remembered=2)
    assert few_remembered == (21, [15, 14, 13, 12], [15, 14])  # 0.75 - 0.05 is what violates begin above


def test_among_equals_the_lowest_row_comes_first():
    """Images of a robot that stands still: nothing but their numbers tells them apart, in every run alike."""
    assert choose([(4, 0.5), (2, 0.5)], [(9, 0.75), (7, 0.75), (8, 0.75)], kept=2) == (2, [7, 8], [7, 8, 9])
