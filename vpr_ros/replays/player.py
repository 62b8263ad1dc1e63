"""Plays a recording to the node over DDS, and gathers what it answers, matched by stamp."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from time import perf_counter, sleep
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, NavSatFix, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from tqdm import tqdm

from vpr_ros.calibration import Calibration
from vpr_ros.drives.recording import Frame, OdometryMessage, Recording
from vpr_ros.errors import InputError
from vpr_ros.localiser import thresholds
from vpr_ros.messages import compressed_from_rgb, points_from_cloud, stamp_to_ns
from vpr_ros.replays.answers import FrameAnswer, Judge
from vpr_ros.replays.replayed import Replayed

logger = logging.getLogger(__name__)

#: Seconds that the node may take to load its map, and to answer a frame.
START_TIMEOUT, ANSWER_TIMEOUT = 120.0, 5.0
#: Seconds after the last hypotheses within which a fix, on a topic of its own, arrives.
LAST_FIX = 0.3
#: Seconds between two tries of the rehearsal, and after which it is said who is waited for.
REHEARSAL_PERIOD, PATIENCE = 0.5, 5.0
#: Why there is no answer where the node names no place at all.
LOST = "lost: no hypothesis"
#: Seconds of the recording, at most, that are waited between two messages.
MAX_PAUSE = 1.0


@dataclass
class _Sent:
    """One frame on its way, and what has come back for it."""

    row: int | None
    stamp: int
    sent: float
    reason: str = ""  # why it was not sent
    arrived: float | None = None
    points: NDArray[Any] | None = None
    single_arrived: float | None = None
    single: NDArray[Any] | None = None
    accepted: bool = False


class Player:
    """Sends frames and gathers answers, matched by stamp.

    Args:
        node: fully qualified name of the node that answers.
        image_topic: that it listens to; relative names are those of the node's namespace.
        compressed: whether CompressedImage is sent, to IMAGE_TOPIC/compressed, else Image.

    Attributes:
        map_folder: of the node, once it is found.
        uses_odometry: whether the node listens to odometry, likewise.
    """

    def __init__(self, node: str, image_topic: str, compressed: bool) -> None:
        self._name = f"/{node.strip('/')}"
        self._compressed = compressed
        # in the namespace of the node: names that are not absolute mean the same to both
        self._node = rclpy.create_node("vpr_replay", namespace=self._name.rpartition("/")[0])
        kind, topic = (
            (CompressedImage, f"{image_topic}/compressed") if compressed else (ImageMessage, image_topic)
        )
        reliable = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
        self._images = self._node.create_publisher(kind, topic, reliable)
        self._odometry = self._node.create_publisher(Odometry, "odometry", 1000)
        self._clock = self._node.create_publisher(Clock, "/clock", 10)
        # deep: nothing that the node publishes may be lost here
        for kind, topic, heard in (
            (PointCloud2, "hypotheses", self._on_hypotheses),
            (PointCloud2, "single/hypotheses", self._on_single),
            (NavSatFix, "fix", self._on_fix),
        ):
            self._node.create_subscription(kind, f"{self._name}/{topic}", heard, 1000)
        self._parameters = self._node.create_client(GetParameters, f"{self._name}/get_parameters")
        self.map_folder = Path()  # of the node
        self._filters = False  # whether the node follows the robot over time,
        self._tells_single = False  # and says besides what it makes of each image alone
        self._precision = 1.0  # of the node
        self.uses_odometry = False
        self._lock = Lock()
        self._frames: dict[int, _Sent] = {}
        self._latest: _Sent | None = None
        self._latest_answered = Event()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = Thread(target=self._executor.spin, name="replay", daemon=True)
        self._thread.start()

    def find(self, check: Callable[[], None]) -> None:
        """Wait for the node: send it a black image until that is answered.

        That both sides see each other in the graph is not enough: the node may not know yet that it is heard.

        Args:
            check: raises where the node has ended.

        Raises:
            InputError: it answers nothing, or listens to other messages than the recording holds.
        """
        started = perf_counter()
        names = ("compressed", "filter", "publish_single", "precision", "map", "use_odometry")
        asked = self._ask(names, started, check)
        compressed = asked["compressed"].bool_value
        if compressed != self._compressed:
            kinds = ("Image", "CompressedImage")
            raise InputError(
                f"{self._name} wants {kinds[compressed]}, the recording holds {kinds[self._compressed]}: "
                f"set its parameter compressed to {str(self._compressed).lower()}"
            )
        self._filters, self._precision = asked["filter"].bool_value, asked["precision"].double_value
        self._tells_single = self._filters and asked["publish_single"].bool_value
        self.map_folder = Path(asked["map"].string_value)
        self.uses_odometry = asked["use_odometry"].bool_value
        message = _black(self._compressed)

        def answered() -> bool:
            self._expect(None, stamp_to_ns(message.header.stamp))
            self._images.publish(message)
            self._latest_answered.wait(REHEARSAL_PERIOD)
            return self._latest_answered.is_set() and self._node.count_publishers(f"{self._name}/fix") > 0

        self._until(answered, started, check)
        with self._lock:
            self._frames.clear()

    def play(self, recording: Recording, rate: float, check: Callable[[], None]) -> None:
        """Send the messages as they were recorded, `rate` times as fast, then wait for the last answer."""
        due, before = perf_counter(), None
        with tqdm(total=recording.count, desc="replay", unit="frame", disable=None) as progress:
            for message in recording.messages():
                pause = 0.0 if before is None else min((message.time - before) / 1e9, MAX_PAUSE)
                due, before = due + pause / rate, message.time
                sleep(max(0.0, due - perf_counter()))
                self._tell_time(message.time)
                if isinstance(message, OdometryMessage):
                    self._odometry.publish(message.cdr())
                else:
                    self._send(message)
                    progress.update()
                check()
        self._latest_answered.wait(ANSWER_TIMEOUT)
        sleep(LAST_FIX)

    def replayed(self, judge: Judge, calibration: Calibration | None) -> Replayed:
        """Return what came back, in the order of sending."""
        with self._lock:
            frames = list(self._frames.values())
        alone, filtered = thresholds(calibration, self._precision)
        final = [_judged(judge, frame, frame.points, frame.arrived, frame.accepted) for frame in frames]
        if not self._tells_single:
            return Replayed(final, None, self._filters, filtered if self._filters else alone)
        # what it would accept of an image alone, the node does not say
        single = [
            _judged(
                judge,
                frame,
                frame.single,
                frame.single_arrived,
                frame.single is not None and bool((frame.single["probability"][:1] > alone).any()),
            )
            for frame in frames
        ]
        return Replayed(final, single, True, filtered)

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()

    def _until(self, done: Callable[[], bool], started: float, check: Callable[[], None]) -> None:
        told = False
        while not done():
            check()
            waited = perf_counter() - started
            if waited > START_TIMEOUT:
                raise InputError(
                    f"{self._name} answered nothing within {START_TIMEOUT:g} s: does it run, in the same "
                    "ROS_DOMAIN_ID, and is --to-topic what it listens to?"
                )
            if waited > PATIENCE and not told:
                logger.info("waiting for %s", self._name)
                told = True
            sleep(0.02)

    def _ask(self, names: Sequence[str], started: float, check: Callable[[], None]) -> dict[str, Any]:
        """Return the node's parameters of these names, as ROS has them."""
        values: list[Any] = []

        def answered() -> bool:
            if self._parameters.service_is_ready():
                # once more each time: an answer is lost where the node does not know yet who asks
                future = self._parameters.call_async(GetParameters.Request(names=list(names)))
                heard = Event()
                future.add_done_callback(lambda _: heard.set())
                if heard.wait(REHEARSAL_PERIOD):
                    values.extend(future.result().values)
            return bool(values)

        self._until(answered, started, check)
        return dict(zip(names, values, strict=True))

    def _tell_time(self, time: int) -> None:
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(time, 10**9)
        self._clock.publish(clock)

    def _expect(self, row: int | None, stamp: int) -> None:
        with self._lock:
            self._latest = self._frames[stamp] = _Sent(row, stamp, perf_counter())
            self._latest_answered.clear()

    def _send(self, frame: Frame) -> None:
        try:
            message = frame.cdr()  # as recorded: nothing is decoded or encoded on the way
        except InputError as error:
            with self._lock:
                self._frames[frame.stamp] = _Sent(frame.row, frame.stamp, perf_counter(), str(error))
            return
        self._expect(frame.row, frame.stamp)
        self._images.publish(message)

    def _on_hypotheses(self, message: PointCloud2) -> None:
        arrived = perf_counter()
        with self._lock:
            frame = self._frames.get(stamp_to_ns(message.header.stamp))
            if frame is not None and frame.arrived is None:
                frame.arrived, frame.points = arrived, points_from_cloud(message)
                self._note(frame)

    def _on_single(self, message: PointCloud2) -> None:
        arrived = perf_counter()
        with self._lock:
            frame = self._frames.get(stamp_to_ns(message.header.stamp))
            if frame is not None and frame.single_arrived is None:
                frame.single_arrived, frame.single = arrived, points_from_cloud(message)
                self._note(frame)

    def _note(self, frame: _Sent) -> None:
        complete = frame.points is not None and (frame.single is not None or not self._tells_single)
        if complete and frame is self._latest:
            self._latest_answered.set()

    def _on_fix(self, message: NavSatFix) -> None:
        with self._lock:
            if (frame := self._frames.get(stamp_to_ns(message.header.stamp))) is not None:
                frame.accepted = True


def _judged(
    judge: Judge, frame: _Sent, points: NDArray[Any] | None, arrived: float | None, accepted: bool
) -> FrameAnswer:
    if frame.reason:
        return judge.unanswered(frame.stamp, frame.row, frame.reason)
    if points is None or arrived is None or arrived - frame.sent > ANSWER_TIMEOUT:
        return judge.unanswered(frame.stamp, frame.row, f"no answer within {ANSWER_TIMEOUT:g} s")
    if not len(points):
        return judge.unanswered(frame.stamp, frame.row, LOST)
    return judge.answered(frame.stamp, frame.row, points, accepted, arrived - frame.sent, {})


def _black(compressed: bool) -> CompressedImage | ImageMessage:
    """Return a black camera message, with a stamp that no recording has.

    It is earlier than any, by far more than the filter looks back: that begins anew with the first frame.
    """
    image = np.zeros((96, 128, 3), np.uint8)
    header = Header(stamp=Time(nanosec=1))
    if compressed:
        return compressed_from_rgb(image, header)
    return ImageMessage(header=header, height=96, width=128, encoding="rgb8", step=384, data=image.tobytes())
