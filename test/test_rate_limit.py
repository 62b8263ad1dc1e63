"""No more often than so many times a second."""

import numpy as np
import pytest

from vpr_ros.threads.rate_limit import RateLimit


def passed(times, rate):
    limit = RateLimit()
    return [time for time in times if limit.passes(time, rate)]


def test_zero_lets_all_pass():
    assert passed([1.0, 1.0, 1.0], 0) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("rate", [1.0, 7.0, 10.0, 29.0])
def test_the_mean_rate_is_kept_though_images_come_unevenly(rate):
    draw = np.random.default_rng(0)
    times = 100 + np.arange(3000) / 30 + draw.uniform(0, 0.02, 3000)
    count = len(passed(times.tolist(), rate))
    assert 0.97 * rate * 100 <= count <= rate * 100 + 2


def test_a_pause_earns_no_burst():
    times = [0.0, 100.0, 100.01, 100.02, 100.03, 100.04, 100.5]
    assert len(passed(times, 1.0)) <= 3


def test_a_higher_rate_holds_at_once():
    limit = RateLimit()
    assert limit.passes(10.0, 0.01)
    assert not limit.passes(11.0, 0.01)
    assert limit.passes(11.1, 10.0)
