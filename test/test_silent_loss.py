"""Large images that go missing on the way."""

import numpy as np
import pytest

from vpr_ros.nodes.silent_loss import LARGE, SilentLoss

INTERVAL = 33_333_333
FULL_HD = 1920 * 1080 * 3


def holes(numbers, size=FULL_HD, jitter=0.0):
    draw, loss = np.random.default_rng(1), SilentLoss()
    for number in numbers:
        loss.seen(round((number + draw.uniform(0, jitter)) * INTERVAL), size)
    return loss.holes()


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("seed", range(20))
def test_most_of_them_lost_is_seen(share, seed):
    """A camera of 30 Hz is heard of once in two seconds to three times a second."""
    arrived = np.flatnonzero(np.random.default_rng(seed).random(3000) < share)
    assert "apart" in holes(arrived)


@pytest.mark.parametrize("seed", range(20))
def test_few_of_them_lost_is_not_the_pattern(seed):
    assert not holes(np.flatnonzero(np.random.default_rng(seed).random(3000) < 0.8))


@pytest.mark.parametrize("every", [1, 10, 300])
def test_a_slow_and_uneven_camera_is_not_the_pattern(every):
    assert not holes(range(0, 100 * every, every), jitter=0.3 * every)


def test_small_images_and_few_ones_tell_nothing():
    assert not holes([0, 1, *range(30, 900, 30)], size=LARGE)
    assert not holes([0, 1, 30, 60])


def test_it_is_over_once_they_all_arrive():
    loss = SilentLoss()
    for number in [0, 1, *range(30, 600, 30)]:
        loss.seen(number * INTERVAL, FULL_HD)
    assert loss.holes()
    for number in range(600, 640):
        loss.seen(number * INTERVAL, FULL_HD)
    assert not loss.holes()
