"""All that a node publishes, as an MCAP file to be looked at in Foxglove, or played to RViz."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import rclpy
from mcap.writer import Writer
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rosbags.typesys import Stores, get_typestore

from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.nodes.topics import PUBLISHED

#: Nanoseconds: an earlier stamp is one of the rehearsal, or of simulated time that has not begun.
BEGIN = 10**9


@contextmanager
def recorded(node: str, file: Path) -> Iterator[None]:
    """Write what the node of this fully qualified name publishes to an MCAP file, whole or not at all."""
    with replacing_file(file) as partial, partial.open("wb") as stream:
        recorder = _Recorder(node, stream)
        try:
            yield
        finally:
            recorder.close()


class _Recorder:
    """Messages are written as they are heard, on a thread of its own, at the times of their headers."""

    def __init__(self, node: str, stream: BinaryIO) -> None:
        self._writer = Writer(stream)
        self._writer.start(profile="ros2")
        self._node = rclpy.create_node("vpr_recorder")
        types = get_typestore(Stores.ROS2_JAZZY)
        for topic in PUBLISHED:
            definition, _ = types.generate_msgdef(topic.type_name, ros_version=2)
            schema = self._writer.register_schema(topic.type_name, "ros2msg", definition.encode())
            name = topic.name.replace("~", node, 1)
            heard = self._into(self._writer.register_channel(name, "cdr", schema))
            # deep: nothing may be lost here
            self._node.create_subscription(topic.kind, name, heard, QoSProfile(depth=1000), raw=True)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = Thread(target=self._executor.spin, name="record", daemon=True)
        self._thread.start()

    def _into(self, channel: int) -> Callable[[bytes], None]:
        def heard(message: bytes) -> None:
            # four bytes of encapsulation, then the header, which begins with its stamp
            seconds, nanoseconds = struct.unpack_from("<iI" if message[1] & 1 else ">iI", message, 4)
            stamp = seconds * 10**9 + nanoseconds
            if stamp >= BEGIN:
                self._writer.add_message(channel, log_time=stamp, publish_time=stamp, data=message)

        return heard

    def close(self) -> None:
        """Hear no more, and end the file."""
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._writer.finish()
