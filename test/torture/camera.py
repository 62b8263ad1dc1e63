"""An honest camera of the small world: python -m test.torture.camera TOPIC RATE."""

from __future__ import annotations

import sys
from itertools import cycle
from time import sleep, time_ns

import rclpy
from sensor_msgs.msg import Image

from test.torture.hostile import Header, good
from test.torture.running import RELIABLE


def main() -> None:
    """Send images until killed."""
    topic, rate = sys.argv[1:]
    rclpy.init()
    images = rclpy.create_node("camera").create_publisher(Image, topic, RELIABLE)
    for place in cycle(range(12)):
        images.publish(good(False, place, Header(*divmod(time_ns(), 10**9))).cdr())
        sleep(1 / float(rate))


if __name__ == "__main__":
    main()
