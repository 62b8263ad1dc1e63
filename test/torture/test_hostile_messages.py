"""Hostile messages at the door: nothing but RGB or InputError comes out, and no memory is taken."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from test.torture.hostile import COLOURS, GARBAGE, NUMBERS, SIDES, RawImage, bombs, hostile
from test.torture.watched import peak_after_reset
from vpr_ros.errors import InputError
from vpr_ros.images.pixels import MAX_PIXELS, image_from_compressed, image_from_raw
from vpr_ros.messages import image_from_compressed_message, image_from_message

#: Bytes above what the process held that a message may take: the largest image allowed, decoded and as RGB.
PEAK = 2 * 3 * MAX_PIXELS + (64 << 20)


def outcome(convert):
    """Return the RGB image, or None and why it is refused."""
    try:
        return convert().rgb(), ""
    except InputError as error:
        return None, str(error)


def door(message, compressed):
    """Return what became of a message, having checked it: rgb or refused."""
    kind = CompressedImage if compressed else ImageMessage
    convert = image_from_compressed_message if compressed else image_from_message
    received = deserialize_message(message.cdr(), kind)
    rgb, line = outcome(lambda: convert(received))
    if rgb is None:
        assert len(line.splitlines()) == 1
        return "refused"
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    if isinstance(message, RawImage):
        assert rgb.shape[:2] == (message.height, message.width)
    return "rgb"


def run(compressed, seed, number):
    """Try so many messages; return how many became RGB."""
    return sum(door(each, compressed) == "rgb" for each in islice(hostile(compressed, seed), number))


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_only_rgb_or_a_refusal_comes_out(compressed, seed, scaled, tell, capfd):
    peak_after_reset()
    before, number = peak_after_reset(), scaled(10_000)
    good = run(compressed, seed, number)
    taken = peak_after_reset() - before
    capfd.readouterr()  # libpng and libjpeg complain in words of their own
    assert 0 < good < number
    assert taken < PEAK, f"{taken >> 20} MiB"
    what = f"{'compressed' if compressed else 'raw'} messages at the door"
    tell(what, number, f"{good} RGB, {number - good} refused, peak {taken / 2**20:+.0f} MiB")


def test_bombs_take_no_memory(tell, capfd):
    peak_after_reset()
    for bomb in bombs():
        before = peak_after_reset()
        with suppress(InputError):
            image_from_compressed(bomb).rgb()
        assert peak_after_reset() - before < PEAK, bomb[:40]
    capfd.readouterr()
    tell("decompression bombs", len(bombs()), f"none takes more than {PEAK >> 20} MiB")


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    encoding=st.sampled_from([*COLOURS, *NUMBERS, *GARBAGE]) | st.text(max_size=20),
    height=st.integers(0, 40) | st.sampled_from(SIDES),
    width=st.integers(0, 40) | st.sampled_from(SIDES),
    step=st.integers(0, 400) | st.sampled_from(SIDES),
    data=st.binary(max_size=4000),
    big_endian=st.booleans(),
)
def test_whatever_the_layout(encoding, height, width, step, data, big_endian):
    rgb, line = outcome(lambda: image_from_raw(data, height, width, step, encoding, big_endian))
    if rgb is None:
        assert len(line.splitlines()) == 1
    else:
        assert rgb.shape == (height, width, 3)
        assert rgb.dtype == np.uint8
