"""A peer of the node under test: real processes over real DDS on loopback, in a domain of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from vpr_ros.benches.traffic import PROFILES

#: Discovery takes 0.1 to 3 s at random, a first start of the node many.
TIMEOUT = 60.0


def profile(name: str) -> dict[str, str]:
    """Return the environment of a process that takes this Fast DDS profile of config/."""
    return dict.fromkeys(PROFILES, str(Path(__file__).parents[1] / "config" / name))


def private_domain() -> dict[str, str]:
    """Return the environment of a domain that no other test run on this machine is likely to use."""
    return {"ROS_DOMAIN_ID": str(1 + os.getpid() % 100), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


class Peer:
    """Publishes to the node and keeps what it publishes."""

    def __init__(self) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = Node("peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._kept: dict[str, list[Any]] = {}

    def hear(self, kind: type, topic: str) -> None:
        """Keep the messages of a topic from now on."""
        self._kept[topic] = []
        self.node.create_subscription(kind, topic, self._kept[topic].append, 1000)

    def kept(self, topic: str) -> list[Any]:
        """Return the messages of a topic so far."""
        return self._kept[topic]

    def publisher(self, kind: type, topic: str, qos: QoSProfile | int = 10) -> Any:
        """Return a publisher to whom somebody listens."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.until(lambda: publisher.get_subscription_count() > 0, f"nobody listens to {topic}")
        return publisher

    def until(self, done: Callable[[], Any], otherwise: str) -> Any:
        """Handle messages until `done` says something, and return it."""
        deadline = monotonic() + TIMEOUT
        while not (result := done()):
            assert monotonic() < deadline, otherwise
            self._executor.spin_once(timeout_sec=0.05)
        return result

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(kind, service)
        self.until(client.service_is_ready, f"no service {service}")
        future = client.call_async(request)
        self.until(future.done, f"{service} did not answer")
        self.node.destroy_client(client)  # one that stays costs who serves it 22 kB
        return future.result()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
