"""The image subscription, and what is known of who publishes."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSReliabilityPolicy

from vpr_ros.nodes.silent_loss import CURE, SilentLoss
from vpr_ros.nodes.topics import COMPRESSED_IMAGE, IMAGE
from vpr_ros.nodes.watchdog import Publisher, Watchdog, why_silent


class Camera:
    """Images, from when the node is activated until it is deactivated."""

    def __init__(self, node: Node, compressed: bool, reliable: bool, on_image: Callable[[Any], None]) -> None:
        topic = COMPRESSED_IMAGE if compressed else IMAGE
        self._node = node
        self._kind = topic.type_name
        self._raw, self._reliable = not compressed, reliable
        self._watchdog = Watchdog(perf_counter())
        self._loss = SilentLoss()
        self._subscription = topic._replace(best_effort=not reliable).subscription(node, on_image)

    def seen(self, received: float, stamp: int, size: int) -> None:
        """Note an image: when it came, seconds; its stamp, nanoseconds; its bytes."""
        self._watchdog.seen(received)
        self._loss.seen(stamp, size)

    def silence(self, timeout: float) -> str:
        """Say for how long no image has come, and why, where that is longer than `timeout`."""
        seconds = self._watchdog.silent(perf_counter(), timeout)
        if not seconds:
            return ""
        why = why_silent(self._subscription.topic_name, self._kind, self._reliable, self._publishers())
        return f"no image for {seconds:.1f} s: {why}"

    def silent_loss(self, silence: str) -> str:
        """Say what to do where large images seem to be lost on the way; `silence` is what it said last."""
        if not (self._raw and rclpy.get_rmw_implementation_identifier().startswith("rmw_fastrtps")):
            return ""
        pattern = silence if silence.endswith("nothing arrives") else self._loss.holes()
        if pattern and any(each.best_effort for each in self._publishers()):
            return f"{pattern}: {CURE}"
        return ""

    def close(self) -> None:
        """Hear no more."""
        self._node.destroy_subscription(self._subscription)

    def _publishers(self) -> list[Publisher]:
        return [
            Publisher(
                f"{info.node_namespace.rstrip('/')}/{info.node_name}",
                info.topic_type,
                info.qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT,
            )
            for info in self._node.get_publishers_info_by_topic(self._subscription.topic_name)
        ]
