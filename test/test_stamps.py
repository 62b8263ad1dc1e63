"""What stamps of images lead to."""

import pytest

from vpr_ros.nodes.stamps import Stamps

SECOND = 10**9
NOW = 1_700_000_000 * SECOND


def fates(stamps, now=NOW, simulated=False):
    judge = Stamps()
    return [judge.judge(stamp, now, simulated).fate for stamp in stamps], judge.epoch


def test_images_in_order_are_answered_with_their_stamps():
    judge = Stamps()
    for stamp in (5, 5, SECOND, 10 * SECOND, NOW):
        assert judge.judge(stamp, NOW, False).stamp == stamp
    assert judge.epoch == 0


def test_one_that_is_late_is_left_out_and_the_next_is_not():
    assert fates([10 * SECOND, 9 * SECOND, 10 * SECOND + 1]) == (["", "out_of_order", ""], 0)


def test_time_that_goes_back_begins_anew_once():
    assert fates([10 * SECOND, 9 * SECOND - 1, 9 * SECOND, 10 * SECOND]) == ([""] * 4, 1)


@pytest.mark.parametrize(("simulated", "allowed"), [(False, SECOND), (True, 10 * SECOND)])
def test_the_future_is_refused_and_leaves_no_trace(simulated, allowed):
    stamps = [NOW + allowed, NOW + allowed + 1, 2**31 * SECOND, NOW + allowed + 1, NOW + allowed]
    assert fates(stamps, simulated=simulated) == (["", "future", "future", "future", ""], 0)


def test_before_simulated_time_has_begun_nothing_is_the_future():
    assert fates([2**31 * SECOND], now=0, simulated=True) == ([""], 0)


@pytest.mark.parametrize("stamp", [0, -1, -(2**31) * SECOND])
def test_an_image_without_a_stamp_is_of_now(stamp):
    judge = Stamps()
    assert judge.judge(stamp, NOW, False).stamp == NOW
    assert judge.judge(NOW + 1, NOW + 1, False).fate == ""
    assert judge.epoch == 0


def test_without_a_stamp_and_without_time_it_is_refused():
    assert fates([0], now=0, simulated=True) == (["refused"], 0)


def test_a_clock_that_goes_back_behind_the_images_begins_anew_once():
    """The images that follow it do not count once more, nor does the clock that follows them."""
    judge = Stamps()
    judge.judge(50 * SECOND, 50 * SECOND, True)
    judge.clock_jumped(3 * SECOND)
    judge.clock_jumped(3 * SECOND)
    assert judge.judge(3 * SECOND, 3 * SECOND, True).fate == ""
    assert judge.epoch == 1

    judge.judge(50 * SECOND, 50 * SECOND, True)
    judge.judge(3 * SECOND, 50 * SECOND, True)
    judge.clock_jumped(3 * SECOND)
    assert judge.epoch == 2


def test_a_clock_that_is_set_but_a_little_changes_nothing():
    judge = Stamps()
    judge.clock_jumped(0)
    judge.judge(50 * SECOND, 50 * SECOND, True)
    judge.clock_jumped(49 * SECOND)
    assert judge.epoch == 0
