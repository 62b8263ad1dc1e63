"""The shared-memory profile for Fast DDS: large best-effort images arrive."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image as ImageMessage

from test.ros_graph import Peer, private_domain, profile

COUNT = 60
#: A camera driver: 1080p at 30 Hz, best effort, once somebody listens.
CAMERA = f"""
import time, rclpy
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("camera")
qos = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
images = node.create_publisher(Image, "image", qos)
message = Image(height=1080, width=1920, encoding="bgr8", step=5760, data=bytes(1080 * 5760))
while not images.get_subscription_count():
    time.sleep(0.05)
for number in range({COUNT}):
    message.header.stamp.sec = number
    images.publish(message)
    time.sleep(1 / 30)
"""


def test_with_the_profile_on_the_publisher_large_images_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it one in ten does."""
    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    peer = Peer()
    got: list[int] = []
    best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    peer.node.create_subscription(
        ImageMessage, "image", lambda each: got.append(each.header.stamp.sec), best_effort
    )
    environment = os.environ | profile("fastdds_shared_memory.xml")
    camera = subprocess.Popen([sys.executable, "-c", CAMERA], env=environment)
    peer.until(lambda: camera.poll() is not None, "the camera does not end")
    peer.close()
    assert camera.returncode == 0
    assert len(got) > COUNT / 2
