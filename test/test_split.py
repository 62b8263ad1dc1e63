"""Validation held out by place: a gap away from training, of the size asked for, the same every time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from test.sharing import rows_at
from training.learning.split import fold_by_place, split_by_place
from vpr_ros.geodesy import Datum
from vpr_ros.geotagged import ground_distance

few = settings(max_examples=40, deadline=None, derandomize=True)


def drive(length, width=60.0, bearing=0.0, count=300, seed=0):
    """Return metres of images along a winding road of that length."""
    random = np.random.default_rng(seed)
    along = np.sort(random.uniform(0, length, count))
    across = width / 2 * np.sin(along / length * random.uniform(3, 30)) + random.normal(size=count)
    turn = math.radians(bearing)
    axes = np.array([[math.sin(turn), math.cos(turn)], [math.cos(turn), -math.sin(turn)]])
    return np.column_stack([along, across]) @ axes


def runs(members, order):
    """Return the unbroken runs of members among all, in that order."""
    inside = np.isin(order, members)
    return int((inside & ~np.concatenate([[False], inside[:-1]])).sum())


@few
@given(
    length=st.sampled_from([300.0, 1500.0, 8000.0, 40_000.0]),
    bearing=st.floats(0, 360),
    share=st.floats(0.05, 0.5),
    gap=st.floats(5.0, 50.0),
    seed=st.integers(0, 99),
    first=st.booleans(),
    latitude=st.sampled_from([-70.0, 0.0, 52.0]),
)
def test_nothing_trained_on_is_within_the_gap_and_nothing_else_is_lost(
    length, bearing, share, gap, seed, first, latitude
):
    metres = drive(length, bearing=bearing, seed=seed)
    rows = rows_at(metres, datum=Datum(latitude, 5.0))
    training, held = split_by_place(rows, share, gap, first)
    assert len(held) == pytest.approx(share * len(rows), abs=10)  # one an edge of ten strips
    assert not set(training) & set(held)
    nearest = np.array([ground_distance(rows[[row]], rows[held]).min() for row in range(len(rows))])
    assert nearest[training].min() > gap
    lost = np.setdiff1d(np.arange(len(rows)), np.concatenate([training, held]))
    assert (nearest[lost] <= gap).all()


@few
@given(folds=st.integers(2, 6), gap=st.floats(5.0, 50.0), seed=st.integers(0, 99))
def test_the_folds_hold_out_every_image_once_and_train_on_none_near(folds, gap, seed):
    rows = rows_at(drive(1500.0, seed=seed))
    parts = [fold_by_place(rows, fold, folds, gap) for fold in range(1, folds + 1)]
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(len(rows)))
    for training, held in parts:
        assert abs(len(held) - len(rows) / folds) <= 1
        assert min(ground_distance(rows[[row]], rows[held]).min() for row in training) > gap


@pytest.mark.parametrize(("fold", "folds"), [(0, 4), (5, 4), (1, 1)])
def test_a_fold_that_there_is_not(fold, folds):
    with input_error(f"fold {fold} of {folds}", "counted from 1"):
        fold_by_place(rows_at(drive(500.0)), fold, folds)


@few
@given(seed=st.integers(0, 99), length=st.sampled_from([400.0, 5000.0]))
def test_the_order_of_the_images_does_not_matter(seed, length):
    """A second recording, listed first, must not move what is held out."""
    rows = rows_at(drive(length, width=length / 2, seed=seed))
    order = np.random.default_rng(seed).permutation(len(rows))
    for plain, shuffled in zip(split_by_place(rows), split_by_place(rows[order]), strict=True):
        assert sorted(order[shuffled]) == plain.tolist()


@pytest.mark.parametrize("bearing", [0, 37, 90, 200, 311])
def test_a_small_area_loses_one_strip_at_an_end_of_its_length(bearing):
    metres = drive(500.0, bearing=bearing)
    far, near = split_by_place(rows_at(metres))[1], split_by_place(rows_at(metres), first=True)[1]
    along = np.arange(len(metres))  # the road was driven from one end to the other
    ends = {tuple(np.isin([0, len(metres) - 1], held)) for held in (far, near)}
    assert ends == {(True, False), (False, True)}
    for held in (far, near):
        assert runs(held, along) == 1
        assert len(held) == pytest.approx(60, abs=1)


def test_a_large_area_loses_strips_all_over_it():
    """So that validation sees more than one quarter of a town; each end costs a gap of training images."""
    metres = drive(40_000.0, count=2000)
    training, held = split_by_place(rows_at(metres))
    assert runs(held, np.arange(len(metres))) == 10
    for tenth in range(10):
        inside = slice(200 * tenth, 200 * (tenth + 1))
        assert np.isin(np.arange(2000)[inside], held).sum() == pytest.approx(40, abs=3)
    assert len(training) + len(held) > 0.97 * len(metres)


def test_strips_are_long_beside_their_gaps():
    """More of them would leave less to train on: 20 % of 4.1 km at a gap of 25 m make 4 strips of 205 m."""
    along = np.arange(0, 4100.0, 2.0)
    metres = np.column_stack([along, 0 * along])
    training, held = split_by_place(rows_at(metres))
    assert runs(held, np.arange(len(along))) == 4
    assert len(held) == pytest.approx(410, abs=4)
    assert len(training) == pytest.approx(1640 - 7 * 12.5, abs=4)  # seven edges; the eighth is the end


def test_images_of_two_drives_at_one_place_stay_together():
    metres = np.repeat(drive(600.0, count=100), 3, axis=0)
    training, held = split_by_place(rows_at(metres))
    for part in (training, held):
        assert len(part) % 3 == 0
        assert (part.reshape(-1, 3) // 3 == part.reshape(-1, 3)[:, :1] // 3).all()


@pytest.mark.parametrize(("length", "gap"), [(0.0, 25.0), (24.0, 25.0), (300.0, 300.0)])
def test_too_small_an_area(length, gap):
    along = np.linspace(0, length, 30)
    with input_error("30 images", f"over {length:.0f} m", f"{gap:g} m", "--val"):
        split_by_place(rows_at(np.column_stack([along, 0 * along])), gap=gap)


def test_no_images():
    with input_error("0 images", "--val"):
        split_by_place(rows_at(np.empty((0, 2))))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_a_share_that_is_none(share):
    with input_error(f"{share:g}", "more than 0 and less than 1"):
        split_by_place(rows_at(drive(500.0)), share)


def test_across_the_antimeridian():
    """A place on both sides of it is split as it would be anywhere else."""
    metres = drive(2000.0, width=400.0)
    metres -= metres.mean(axis=0)
    here, there = (split_by_place(rows_at(metres, datum=Datum(-45.0, east))) for east in (170.0, 180.0))
    assert [part.tolist() for part in here] == [part.tolist() for part in there]
