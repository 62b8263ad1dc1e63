"""A node as a process, and what it takes to send it anything and to see what becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from test.ros_graph import TIMEOUT, Peer
from test.torture.hostile import Header, good
from test.torture.watched import Watched
from vpr_ros.messages import points_from_cloud, stamp_to_ns
from vpr_ros.nodes.health import FATES

RELIABLE = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
#: Seconds within which a good image is sent once more, where no answer came: it may have been superseded.
RETRY = 0.5
#: Kernels that oneDNN and PyTorch keep, for sizes of images: 8 instead of 1024 each, which take some 16 MiB.
#: What grows beside them shall show.
FEW_KERNELS = dict.fromkeys(("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), "8")


class RunningNode:
    """A node in a namespace of its own.

    Attributes:
        process: of it.
        watched: its memory.
        topic: of its images.
    """

    def __init__(
        self, peer: Peer, process: subprocess.Popen[bytes], namespace: str, compressed: bool
    ) -> None:
        self.process = process
        self.watched = Watched(process.pid)
        self.topic = f"{namespace}/image{'/compressed' if compressed else ''}"
        self.name = f"{namespace}/vpr_localiser"
        self._peer = peer
        self._compressed = compressed
        self._answers = f"{self.name}/hypotheses"
        peer.hear(PointCloud2, self._answers)
        peer.hear(DiagnosticArray, "/diagnostics")
        self.images = peer.publisher(CompressedImage if compressed else ImageMessage, self.topic, RELIABLE)

    def answers(self) -> list[Any]:
        """Return its clouds so far."""
        return self._peer.kept(self._answers)

    def send(self, messages: Iterable[bytes], rate: float, number: int = 0) -> None:
        """Send serialised messages at a rate; of so many, look at it a hundred times on the way."""
        due = monotonic()
        for sent, message in enumerate(messages):
            self.images.publish(message)
            due += 1 / rate
            sleep(max(0.0, due - monotonic()))
            if number and sent % max(1, number // 100) == 0:
                self.check()
                self.watched.sample(sent)

    def ask(self, place: int) -> int:
        """Send a good image until it is answered; return the place that is believed in most."""
        asked: set[int] = set()
        sent = -RETRY
        seen = len(self.answers())

        def answered() -> list[int]:
            nonlocal sent
            self.check()
            if monotonic() - sent > RETRY:
                sent, stamp = monotonic(), time_ns()
                asked.add(stamp)
                self.images.publish(good(self._compressed, place, Header(*divmod(stamp, 10**9))).cdr())
            return [
                int(points_from_cloud(each)["place"][0])
                for each in self.answers()[seen:]
                if stamp_to_ns(each.header.stamp) in asked
            ]

        return int(self._peer.until(answered, f"{self.name} does not answer")[-1])

    def status(self) -> Any:
        """Return what it says of itself, next from now."""
        now = time_ns()

        def ours() -> list[Any]:
            self.check()
            new = [each for each in self._peer.kept("/diagnostics") if stamp_to_ns(each.header.stamp) > now]
            return [status for each in new for status in each.status if status.hardware_id == self.name]

        return self._peer.until(ours, f"{self.name} says nothing on /diagnostics")[-1]

    def counts(self) -> dict[str, int]:
        """Return frames received and by fate, once every frame received has met its own."""

        def balanced() -> dict[str, int]:
            values = {each.key: each.value for each in self.status().values}
            counts = {name: int(values[f"frames {name}"]) for name in ("received", *FATES)}
            return counts if counts["received"] == sum(counts[fate] for fate in FATES) else {}

        return dict(self._peer.until(balanced, f"{self.name}: frames that were received have no fate"))

    def check(self) -> None:
        """Assert that it lives."""
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"


@contextmanager
def running_node(
    peer: Peer,
    folder: Path,
    parameters: Mapping[str, object],
    namespace: str = "",
    audit: Path | None = None,
) -> Iterator[RunningNode]:
    """Start a node and wait until it answers; stop it on leaving.

    Args:
        peer: that talks to it.
        folder: for its log.
        parameters: of it.
        namespace: of it.
        audit: file for what it opens, or None.
    """
    log = folder / f"node{namespace.replace('/', '-')}.log"
    process = start(log, parameters, namespace, audit, FEW_KERNELS)
    try:
        yield RunningNode(peer, process, namespace, bool(parameters.get("compressed")))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(
    log: Path,
    parameters: Mapping[str, object],
    namespace: str = "",
    audit: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a node, with more in its environment where given; its output is appended to the log."""
    module = ["vpr_ros.node"] if audit is None else ["test.torture.audited_node", str(audit)]
    arguments = [f"{name}:={_yaml(value)}" for name, value in parameters.items()]
    words = [word for argument in arguments for word in ("-p", argument)]
    words += ["-r", f"__ns:={namespace or '/'}"]
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *module, "--ros-args", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
