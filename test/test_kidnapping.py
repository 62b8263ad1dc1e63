"""A robot that is carried off: the same frames, in stretches, at times that go on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpr_ros.drives.kidnapping import kidnapped
from vpr_ros.drives.recording import Frame, Recording
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, make_rows

STEP = 200_000_000


def a_recording(count, step=STEP):
    frames = [Frame(row, 10**9 + row * step, row * step, lambda: None, bytes) for row in range(count)]
    images = GeotaggedImages(make_rows("test", latitude=np.zeros(count), longitude=np.zeros(count)), None)
    return Recording(images, True, True, count, lambda: iter(frames))


@given(count=st.integers(0, 60), seconds=st.floats(0.3, 20.0), seed=st.integers(0, 5))
def test_every_frame_comes_once_and_time_goes_on_evenly(count, seconds, seed):
    frames = list(kidnapped(a_recording(count), seconds, seed).frames())
    assert sorted(frame.row for frame in frames) == list(range(count))
    assert (np.diff([frame.stamp for frame in frames]) == STEP).all()


def test_within_a_stretch_the_drive_goes_on_and_between_two_it_jumps():
    rows = [frame.row for frame in kidnapped(a_recording(100), seconds=4.0).frames()]
    jumps = np.flatnonzero(np.diff(rows) != 1) + 1
    assert len(jumps) >= 3
    assert all(jump % 20 == 0 for jump in jumps)  # 4 s of 5 frames a second


def test_the_order_is_the_same_every_time():
    first, again = (
        [frame.row for frame in kidnapped(a_recording(100), 4.0, seed=3).frames()] for _ in range(2)
    )
    other = [frame.row for frame in kidnapped(a_recording(100), 4.0, seed=4).frames()]
    assert first == again != other


def test_odometry_is_left_out():
    assert not kidnapped(a_recording(3), 1.0).odometry


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(InputError, match="positive number of seconds"):
        kidnapped(a_recording(3), seconds)
