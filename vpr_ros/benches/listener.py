"""Who hears what a bench asks for: answers, when they came, and what the node says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, monotonic_ns, sleep, time_ns
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2

from vpr_ros.messages import stamp_to_ns
from vpr_ros.metrics import percentiles
from vpr_ros.nodes.health import FATES

#: Seconds that an answer, or what is said of it, may take.
ANSWER_TIMEOUT = 5.0


class Listener:
    """Hears answers, and when; and what the node says of itself."""

    def __init__(self) -> None:
        #: Of stamps: a clock that nobody sets while it is measured.
        self.clock_offset = time_ns() - monotonic_ns()
        self._node = rclpy.create_node("bench_listener")
        self._arrived: dict[int, int] = {}
        self._status: dict[str, str] = {}
        self._subscription: Any = None
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = Thread(target=self._executor.spin, name="listen", daemon=True)
        self._thread.start()

    def listen(self, topic: str) -> None:
        """Forget what was heard and hear this topic."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._arrived = {}
        self._subscription = self._node.create_subscription(PointCloud2, topic, self._on_answer, 1000)

    @property
    def count(self) -> int:
        """Answers so far."""
        return len(self._arrived)

    def heard(self, stamps: list[int]) -> int:
        """Return how many of the images of these stamps were answered."""
        return len(self._arrived.keys() & set(stamps))

    def ages(self, stamps: list[int]) -> dict[str, float | None]:
        """Return how old their answers were on arrival, ms."""
        arrived = self._arrived
        return percentiles([(arrived[stamp] - stamp) / 1e6 for stamp in stamps if stamp in arrived])

    def diagnostics(
        self, sent: int, check: Callable[[], None]
    ) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
        """Wait until the node has counted all that it received; return frames by fate and its stages, ms."""
        deadline = monotonic() + ANSWER_TIMEOUT
        while not (counts := self._counts()) or (counts["received"] < sent and monotonic() < deadline):
            check()
            sleep(0.05)
        stages: dict[str, dict[str, float]] = {}
        for name, value in self._status.items():
            stage, _, rest = name.partition(" ")
            if rest in ("p50 ms", "p95 ms", "p99 ms"):
                stages.setdefault(stage, {})[rest[:3]] = float(value)
        return counts, stages

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()

    def _counts(self) -> dict[str, int]:
        names = ("received", *FATES)
        return {
            name: int(self._status[f"frames {name}"]) for name in names if f"frames {name}" in self._status
        }

    def _on_answer(self, message: PointCloud2) -> None:
        self._arrived.setdefault(stamp_to_ns(message.header.stamp), self.clock_offset + monotonic_ns())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._status = {each.key: each.value for status in message.status for each in status.values}


@contextmanager
def listening() -> Iterator[Listener]:
    """Yield a listener, with ROS begun for it and ended after it."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        listener = Listener()
        try:
            yield listener
        finally:
            listener.close()
    finally:
        rclpy.try_shutdown()
