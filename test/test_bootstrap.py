"""Intervals from stretches: against draws put together one by one, and against what they promise."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.replays import bootstrap
from vpr_ros.replays.bootstrap import DRAWS, Stretches, draw_stretches, stretch_length


def some_stretches(frames, length, draws=7, seed=0):
    shape = (draws, -(-frames // length))
    return Stretches(frames, length, np.random.default_rng(seed).integers(0, frames, shape))


def drawn_frames(stretches):
    """Return, for each draw, the numbers of its frames: slowly."""
    return [
        [(start + step) % stretches.frames for start in starts for step in range(stretches.length)]
        for starts in stretches.starts.tolist()
    ]


# --- how long a stretch is


@pytest.mark.parametrize(
    ("count", "rate", "length"),
    [
        (10_000, 5.0, 100),  # 20 s
        (10_000, 30.0, 600),
        (320, 5.0, 32),  # a drive of 64 s: ten of them
        (9, 5.0, 1),
        (1, 5.0, 1),
        (0, 5.0, 1),
    ],
)
def test_a_stretch_lasts_20_s_or_a_tenth_of_the_drive(count, rate, length):
    assert stretch_length(np.arange(count) / rate) == length


def test_a_pause_does_not_change_the_length_of_a_stretch():
    times = np.concatenate([np.arange(500) / 5, 1000 + np.arange(500) / 5])
    assert stretch_length(times) == 100


def test_frames_without_times_still_make_stretches():
    assert stretch_length(np.zeros(100)) == 10


# --- against a slow reference


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_sums_and_percentiles_of_every_draw(frames, data):
    stretches = some_stretches(frames, data.draw(st.integers(1, frames)), seed=data.draw(st.integers(0, 99)))
    values = np.array(
        data.draw(st.lists(st.floats(-9, 9) | st.just(float("nan")), min_size=frames, max_size=frames))
    )
    which = data.draw(st.sampled_from([5, 50, 95]))
    known = np.nan_to_num(values)
    sums, percentiles = [], []
    for numbers in drawn_frames(stretches):
        sums.append(sum(known[number] for number in numbers))
        finite = sorted(values[number] for number in numbers if np.isfinite(values[number]))
        rank = max(1, -(-len(finite) * which // 100))
        percentiles.append(finite[rank - 1] if finite else np.nan)
    assert stretches._sums(known) == pytest.approx(np.array(sums), abs=1e-9)
    assert stretches.percentiles(values, which) == pytest.approx(np.array(percentiles), nan_ok=True)


def test_draws_held_in_pieces_are_the_same(monkeypatch):
    stretches, values = some_stretches(50, 7, draws=40), np.random.default_rng(1).normal(size=50)
    whole = stretches.percentiles(values, 50)
    monkeypatch.setattr(bootstrap, "BLOCK", 200)
    assert stretches.percentiles(values, 50).tolist() == whole.tolist()


def test_the_ratio_is_that_of_the_sums():
    stretches = draw_stretches(np.arange(60) / 5)
    hits, of = np.arange(60) % 3 == 0, np.arange(60) % 2 == 0
    ratios = [np.mean(hits[numbers][of[numbers]]) for numbers in map(np.array, drawn_frames(stretches))]
    assert stretches.share(hits, of) == pytest.approx(np.percentile(ratios, [2.5, 97.5]))


# --- what can be said


def test_every_draw_is_the_same_each_time():
    first, second = (draw_stretches(np.arange(100) / 5).starts for _ in range(2))
    assert first.tolist() == second.tolist()
    assert first.shape == (DRAWS, 10)


def test_nothing_is_said_of_a_few_frames_or_of_none():
    assert draw_stretches(np.arange(9)).share(np.ones(9, bool), np.ones(9, bool)) is None
    assert draw_stretches(np.arange(9)).percentile(np.arange(9.0), 50) is None
    assert draw_stretches(np.empty(0)).share(np.empty(0, bool), np.empty(0, bool)) is None
    many = draw_stretches(np.arange(100))
    assert many.share(np.ones(100, bool), np.zeros(100, bool)) is None
    assert many.percentile(np.full(100, np.nan), 50) is None


def test_frames_that_all_agree_do_not_make_certain():
    stretches = draw_stretches(np.arange(1000) / 5)  # ten stretches of 100
    everything = np.ones(1000, bool)
    assert stretches.share(everything, everything) == [pytest.approx(0.025**0.1), 1.0]
    assert stretches.share(~everything, everything) == [0.0, pytest.approx(1 - 0.025**0.1)]
    half = np.arange(1000) < 500
    assert stretches.share(half, half) == [pytest.approx(0.025**0.2), 1.0]


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Frames that agree with their neighbours for 20: stretches hold it, single frames promise too much."""
    held = {"stretches": 0, "frames": 0}
    trials = 150
    for seed in range(trials):
        draw = np.random.default_rng(seed)
        right = np.repeat(draw.random(100) < 0.7, 20)[: 100 * 20]
        everything = np.ones(len(right), bool)
        for name, length in (("stretches", 100), ("frames", 1)):
            drawn = some_stretches(len(right), length, draws=300, seed=seed)
            low, high = drawn.share(right, everything)
            held[name] += low <= 0.7 <= high
    assert held["stretches"] > 0.86 * trials
    assert held["frames"] < 0.5 * trials


def test_ten_thousand_frames_take_no_time():
    stretches, values = draw_stretches(np.arange(10_000) / 5), np.random.default_rng(0).normal(size=10_000)
    started = time.process_time()
    stretches.percentile(values, 50)
    stretches.share(values > 0, values < 9)
    assert time.process_time() - started < 2.0
