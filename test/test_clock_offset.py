"""The offset between the camera's clock and the GPS's, of drives where it is known."""

import numpy as np
import pytest

from training.data_check.clock_offset import clock_offset

SECOND = 10**9
T0 = 1_700_000_000 * SECOND


def stop_and_go(seconds, seed=0):
    """Return a speed, m/s, at each of these times: stretches of driving and of standing, as in a town."""
    random = np.random.default_rng(seed)
    knots = np.cumsum(random.uniform(3, 9, 200))
    speeds = np.where(np.arange(200) % 3 == 0, 0.0, random.uniform(2, 10, 200))
    return np.interp(seconds, knots, speeds)


def drive(offset, length=180.0, rate=5.0, speed=stop_and_go, noise=0.3, gps=1.0, seed=0):
    """Return stamps, change and metres of a drive whose camera's clock is behind by `offset` seconds."""
    random = np.random.default_rng(seed)
    seconds = np.arange(0, length, 1 / rate)
    fine = np.arange(-100, length + 100, 0.01)
    metres = np.cumsum(speed(fine)) * 0.01

    def where(at):
        return np.interp(at, fine, metres)

    seen = 1 - np.exp(-np.diff(where(seconds + offset)))  # images differ no more than wholly
    seen = seen + noise * random.random(len(seen))
    # fixes at 1 Hz, and positions between them
    fixes = np.arange(-2, length + 2, 1.0)
    along = np.interp(seconds, fixes, where(fixes) + gps * 0.1 * random.standard_normal(len(fixes)))
    return (T0 + seconds * SECOND).astype(np.int64), seen, np.column_stack([along, 0 * along])


@pytest.mark.parametrize("offset", [-20.0, -3.2, 2.6, 8.0, 45.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_offset_is_found(offset, seed):
    found = clock_offset(*drive(offset, seed=seed, speed=lambda t: stop_and_go(t + 100, seed)))
    assert found.wrong
    assert found.seconds == pytest.approx(offset, abs=0.5)
    assert found.low <= offset + 0.3
    assert found.high >= offset - 0.3
    assert found.correlation > found.without + 0.1
    assert "certain" in str(found)


@pytest.mark.parametrize("seed", range(10))
def test_where_there_is_none_none_is_told(seed):
    found = clock_offset(*drive(0.0, seed=seed, speed=lambda t: stop_and_go(t + 100, seed)))
    assert not found.wrong
    assert found.low <= 0.2
    assert found.high >= -0.2


@pytest.mark.parametrize("seed", range(20))
def test_where_speed_and_images_have_nothing_to_do_with_each_other(seed):
    stamps, _, enu = drive(0.0, seed=seed, speed=lambda t: stop_and_go(t + 100, seed))
    _, seen, _ = drive(0.0, speed=lambda t: stop_and_go(t + 100, seed + 1000))
    found = clock_offset(stamps, seen, enu)
    assert not found.wrong
    assert "none that can be told" in str(found)


def test_at_an_even_speed_nothing_can_be_told():
    assert clock_offset(*drive(5.0, speed=lambda t: np.full(len(t), 5.0))) is None


def test_the_longest_stretch_without_a_gap_counts():
    stamps, seen, enu = drive(4.0, length=220.0)
    stamps[:200] -= 3600 * SECOND
    enu[:200] = enu[:200][::-1]
    assert clock_offset(stamps, seen, enu).seconds == pytest.approx(4.0, abs=0.5)


@pytest.mark.parametrize("change", ["short", "slow", "still", "one", "none", "no stamps"])
def test_what_says_nothing(change):
    stamps, seen, enu = drive(4.0)
    if change == "short":
        stamps, seen, enu = stamps[:100], seen[:99], enu[:100]
    elif change == "slow":
        stamps, seen, enu = stamps[::6], seen[::6][: len(stamps[::6]) - 1], enu[::6]
    elif change == "still":
        enu = np.zeros_like(enu)
    elif change == "no stamps":
        stamps = np.zeros_like(stamps)
    else:
        count = int(change == "one")
        stamps, seen, enu = stamps[:count], seen[:0], enu[:count]
    assert clock_offset(stamps, seen, enu) is None
