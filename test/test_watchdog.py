"""No images: for how long, and why."""

import pytest

from vpr_ros.nodes.watchdog import Publisher, Watchdog, why_silent

IMAGE = "sensor_msgs/msg/Image"


def test_it_barks_after_the_timeout_and_is_quiet_again_with_the_next_image():
    watchdog = Watchdog(10.0)
    assert watchdog.silent(12.0, 2.0) == 0
    assert watchdog.silent(12.5, 2.0) == 2.5
    assert watchdog.silent(12.5, 0.0) == 0  # off
    watchdog.seen(13.0)
    assert watchdog.silent(14.0, 2.0) == 0


@pytest.mark.parametrize(
    ("reliable", "publishers", "why"),
    [
        (False, [], "nobody publishes /image"),
        (False, [("sensor_msgs/msg/CompressedImage", False)], "and sensor_msgs/msg/Image is wanted"),
        (True, [(IMAGE, True)], "best effort, and reliable is wanted"),
        (True, [(IMAGE, True), (IMAGE, False)], "nothing arrives"),
        (False, [(IMAGE, True)], "nothing arrives"),
        (False, [("sensor_msgs/msg/CompressedImage", False), (IMAGE, False)], "nothing arrives"),
    ],
)
def test_it_says_why(reliable, publishers, why):
    named = [Publisher("/camera", *each) for each in publishers]
    said = why_silent("/image", IMAGE, reliable, named)
    assert why in said
    assert "/image" in said
