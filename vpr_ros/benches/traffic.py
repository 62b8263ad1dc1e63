"""The camera of a bench, and the echo that answers in place of the node: processes of their own."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Queue
from time import monotonic_ns, sleep
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

#: In serialised form: four bytes that say how, then the header's stamp: seconds and nanoseconds.
STAMP = struct.Struct("<iI")
STAMP_AT = 4
#: What names a profile to Fast DDS: Kilted's knows the second name, those before it the first.
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
#: Seconds of a pause between two looks at whether somebody listens.
LOOK_PERIOD = 0.01


@dataclass(frozen=True)
class Stream:
    """What a camera sends.

    Attributes:
        topic: absolute.
        compressed: CompressedImage instead of Image.
        reliable: instead of best effort.
        rate: images a second.
        profile: Fast DDS profile of the publisher, or None.
    """

    topic: str
    compressed: bool
    reliable: bool
    rate: float
    profile: Path | None

    @property
    def kind(self) -> Any:
        """The message."""
        return CompressedImage if self.compressed else ImageMessage

    @property
    def qos(self) -> QoSProfile:
        """Of publisher and subscriber alike."""
        policy = QoSReliabilityPolicy.RELIABLE if self.reliable else QoSReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=1, reliability=policy)


def send(
    stream: Stream,
    messages: Sequence[Any],
    seconds: float,
    clock_offset: int,
    answered: Event,
    sent: Queue[list[int]],
) -> None:
    """Publish the messages in turn at the stream's rate; they are serialised before, as a driver's are.

    Args:
        stream: topic, kind, rate.
        messages: of the stream's kind.
        seconds: to go on for, from the first answer on.
        clock_offset: ns to add to the monotonic clock for the stamp.
        answered: set, by another process, once answers arrive.
        sent: takes the stamps, ns: those before the first answer, then those after it.
    """
    if stream.profile is not None:  # read when the context begins
        os.environ.update(dict.fromkeys(PROFILES, str(stream.profile)))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bench_camera")
    publisher = node.create_publisher(stream.kind, stream.topic, stream.qos)
    buffers = [bytearray(serialize_message(message)) for message in messages]
    before: list[int] = []
    after: list[int] = []
    while not publisher.get_subscription_count():
        sleep(LOOK_PERIOD)
    period = round(1e9 / stream.rate)
    due, end = monotonic_ns(), None
    while end is None or due < end:
        sleep(max(0.0, (due - monotonic_ns()) / 1e9))
        if end is None and answered.is_set():
            end = due + round(seconds * 1e9)
        stamps = before if end is None else after
        buffer = buffers[len(stamps) % len(buffers)]
        stamp = clock_offset + monotonic_ns()
        STAMP.pack_into(buffer, STAMP_AT, *divmod(stamp, 10**9))
        publisher.publish(bytes(buffer))
        stamps.append(stamp)
        due += period
    sent.put(before)
    sent.put(after)
    # what is still on its way may be lost with its sender
    while answered.is_set():
        sleep(LOOK_PERIOD)
    node.destroy_node()
    rclpy.try_shutdown()


def echo(stream: Stream, answers: str, raw: bool) -> None:
    """Answer every image with an empty cloud of its stamp, until terminated.

    Args:
        stream: to answer.
        answers: topic of the clouds.
        raw: take the images as bytes, which rclpy hands over sooner than as messages.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bench_echo")
    publisher = node.create_publisher(PointCloud2, answers, 10)

    def answer(message: Any) -> None:
        header = Header()
        if raw:
            header.stamp.sec, header.stamp.nanosec = STAMP.unpack_from(message, STAMP_AT)
        else:
            header.stamp = message.header.stamp
        publisher.publish(PointCloud2(header=header))

    node.create_subscription(stream.kind, stream.topic, answer, stream.qos, raw=raw)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin()
