"""Calibration, precision and recall, and coverage: against slow references, and by what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from vpr_ros.replays.reliability import (
    Curve,
    calibration_error,
    ellipse_scale,
    inside,
    precision_recall,
    recall_at_precision,
    reliability_bins,
    squared_sigmas,
)

# --- precision and recall

some_scores = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]), st.booleans(), st.booleans()), max_size=20
)


@settings(max_examples=100, deadline=None)
@given(some_scores, st.integers(0, 5))
def test_the_curve_is_what_each_threshold_gives(lines, more):
    score, right, findable = (np.array(column) for column in zip(*lines, strict=True)) if lines else [[]] * 3
    total = int(np.sum(findable)) + more
    curve = precision_recall(score, right, findable, total)
    thresholds = sorted(set(np.asarray(score).tolist()), reverse=True)
    assert curve.threshold.tolist() == thresholds
    for row, threshold in enumerate(thresholds):
        accepted = [line for line in lines if line[0] >= threshold]
        found = sum(line[1] and line[2] for line in accepted)
        assert curve.precision[row] == pytest.approx(np.mean([line[1] for line in accepted]))
        assert curve.recall[row] == pytest.approx(found / max(total, 1))
    assert (np.diff(curve.recall) >= 0).all()


def test_the_recall_at_a_precision_is_the_highest():
    curve = Curve(
        threshold=np.array([0.9, 0.8, 0.7, 0.6]),
        precision=np.array([1.0, 0.9, 0.99, 0.5]),
        recall=np.array([0.1, 0.2, 0.3, 0.4]),
    )
    assert recall_at_precision(curve, 0.99) == (0.3, 0.7)
    assert recall_at_precision(curve, 1.0) == (0.1, 0.9)
    assert recall_at_precision(Curve(*np.array([[0.9], [0.5], [0.4]])), 0.99) == (0.0, None)


# --- calibration


def test_bins_by_hand():
    bins = reliability_bins([0.1, 0.2, 0.8, 0.9], [False, True, True, True], bins=2)
    assert [(each.count, each.probability, each.right) for each in bins] == [
        (2, pytest.approx(0.15), 0.5),
        (2, pytest.approx(0.85), 1.0),
    ]
    assert calibration_error(bins) == pytest.approx((0.35 + 0.15) / 2)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=60),
    st.randoms(),
)
def test_bins_have_equal_mass_and_no_order(lines, random):
    bins = reliability_bins(*zip(*lines, strict=True))
    counts = [each.count for each in bins]
    assert sum(counts) == len(lines)
    assert len(bins) == min(10, len(lines))
    assert max(counts) - min(counts) <= 1
    assert sum(each.count * each.right for each in bins) == pytest.approx(sum(right for _, right in lines))
    assert 0 <= calibration_error(bins) <= 1
    random.shuffle(lines)
    again = reliability_bins(*zip(*lines, strict=True))
    assert [each.right for each in again] == pytest.approx([each.right for each in bins])


def test_the_calibration_error_of_probabilities_that_hold_and_of_ones_that_do_not():
    draw = np.random.default_rng(0)
    said = draw.uniform(size=50_000)
    assert calibration_error(reliability_bins(said, draw.random(50_000) < said)) < 0.01
    half = reliability_bins(np.full(1000, 0.9), np.arange(1000) % 2 == 0)
    assert calibration_error(half) == pytest.approx(0.4)
    assert calibration_error(reliability_bins([], [])) is None


# --- ellipses

numbers = st.floats(-5, 5)


@settings(max_examples=100, deadline=None)
@given(numbers, numbers, numbers, numbers, numbers)
def test_squared_sigmas_are_mahalanobis_distances(east, north, a, b, c):
    root = np.array([[a, b], [0.0, c]])
    covariance = root @ root.T + 0.1 * np.eye(2)
    error = np.array([east, north])
    expected = error @ np.linalg.inv(covariance) @ error
    assert squared_sigmas([error], [covariance]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_covariance_that_is_none_holds_nothing_and_an_unknown_one_is_left_open():
    good, flat, negative = np.eye(2), np.array([[1.0, 1.0], [1.0, 1.0]]), -np.eye(2)
    unknown = np.array([[np.nan, 0.0], [0.0, 1.0]])
    squared = squared_sigmas(np.ones((4, 2)), [good, flat, negative, unknown])
    assert squared[:3].tolist() == [2.0, np.inf, np.inf]
    assert np.isnan(squared[3])
    assert inside(squared, 0.99).tolist() == [True, False, False, False]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_ellipses_hold_the_share_they_say(level):
    assert ellipse_scale(level) ** 2 == pytest.approx(chi2.ppf(level, 2))
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    error = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 40_000)
    squared = squared_sigmas(error, np.broadcast_to(covariance, (40_000, 2, 2)))
    assert inside(squared, level).mean() == pytest.approx(level, abs=0.01)
