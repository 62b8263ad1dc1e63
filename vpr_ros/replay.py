"""Replay a recorded drive through the node, over DDS, and see how well it localises.

python -m vpr_ros.replay --data DRIVE --map MAP --out DIR
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Event, Lock, Thread
from time import perf_counter, sleep
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, NavSatFix, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from tqdm import tqdm

from vpr_ros.command import run
from vpr_ros.drive_metrics import FrameAnswer, summarise, table
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.errors import InputError
from vpr_ros.messages import compressed_from_rgb, points_from_cloud, stamp_to_ns
from vpr_ros.node_process import NodeProcess, node_process
from vpr_ros.place_map import open_map
from vpr_ros.recording import Frame, Recording, open_recording
from vpr_ros.report import draw_drive

#: Seconds that the node may take to load its map, and to answer the last frame.
START_TIMEOUT, ANSWER_TIMEOUT = 120.0, 5.0
#: Seconds after the last hypotheses within which a fix, on a topic of its own, arrives.
LAST_FIX = 0.3
#: Seconds between two tries of the rehearsal.
REHEARSAL_PERIOD = 0.5
NAMESPACE = "/vpr_localiser"


@dataclass
class _Sent:
    """One frame on its way, and what has come back for it."""

    row: int | None
    sent: float
    arrived: float | None = None
    points: NDArray[Any] | None = None
    accepted: bool = False


class Player:
    """Sends frames and gathers answers, matched by stamp."""

    def __init__(self, compressed: bool) -> None:
        self._compressed = compressed
        self._node = rclpy.create_node("vpr_replay")
        kind, topic = (CompressedImage, "image/compressed") if compressed else (ImageMessage, "image")
        reliable = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
        self._images = self._node.create_publisher(kind, topic, reliable)
        self._clock = self._node.create_publisher(Clock, "/clock", 10)
        # deep: nothing that the node publishes may be lost here
        self._node.create_subscription(PointCloud2, f"{NAMESPACE}/hypotheses", self._on_hypotheses, 1000)
        self._node.create_subscription(NavSatFix, f"{NAMESPACE}/fix", self._on_fix, 1000)
        self._lock = Lock()
        self._frames: dict[int, _Sent] = {}
        self._unanswered = 0
        self._all_answered = Event()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = Thread(target=self._executor.spin, name="replay", daemon=True)
        self._thread.start()

    def rehearse(self, process: NodeProcess) -> None:
        """Wait for the node: send it a black image until that is answered.

        That both sides see each other in the graph is not enough: the node may not know yet that it is heard.
        """
        deadline = perf_counter() + START_TIMEOUT
        message = _black(self._compressed)
        stamp = stamp_to_ns(message.header.stamp)
        while not (self._all_answered.is_set() and self._node.count_publishers(f"{NAMESPACE}/fix")):
            process.check()
            if perf_counter() > deadline:
                raise InputError(f"the node answered no image within {START_TIMEOUT:g} s")
            self._expect(None, stamp)
            self._images.publish(message)
            self._all_answered.wait(REHEARSAL_PERIOD)
            self._forget()

    def play(self, frames: Iterator[Frame], total: int, rate: float, process: NodeProcess) -> None:
        """Send the frames as they were recorded, `rate` times as fast, then wait for the last answers."""
        started, first = perf_counter(), None
        for frame in tqdm(frames, total=total, desc="replay", unit="frame"):
            first = frame.stamp if first is None else first
            sleep(max(0.0, started + (frame.stamp - first) / 1e9 / rate - perf_counter()))
            self._send(frame)
            process.check()
        self._all_answered.wait(ANSWER_TIMEOUT)
        sleep(LAST_FIX)

    def answers(self) -> list[FrameAnswer]:
        """Return what came back, in the order of sending; frames without an answer are left out."""
        with self._lock:
            return [
                FrameAnswer(
                    row=frame.row,
                    places=tuple(frame.points["place"].tolist()),
                    latitude=float(frame.points["latitude"][0]),
                    longitude=float(frame.points["longitude"][0]),
                    probability=float(frame.points["probability"][0]),
                    accepted=frame.accepted,
                    latency=frame.arrived - frame.sent,
                )
                for frame in self._frames.values()
                if frame.arrived is not None and frame.points is not None
            ]

    @property
    def sent(self) -> int:
        """The number of frames sent."""
        return len(self._frames)

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()

    def _expect(self, row: int | None, stamp: int) -> None:
        with self._lock:
            self._frames[stamp] = _Sent(row, perf_counter())
            self._unanswered += 1
            self._all_answered.clear()

    def _forget(self) -> None:
        with self._lock:
            self._frames.clear()
            self._unanswered = 0

    def _send(self, frame: Frame) -> None:
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(frame.stamp, 10**9)
        self._clock.publish(clock)
        self._expect(frame.row, frame.stamp)
        self._images.publish(frame.data)  # as recorded: nothing is decoded or encoded on the way

    def _on_hypotheses(self, message: PointCloud2) -> None:
        arrived = perf_counter()
        with self._lock:
            frame = self._frames.get(stamp_to_ns(message.header.stamp))
            if frame is None or frame.arrived is not None:
                return
            frame.arrived, frame.points = arrived, points_from_cloud(message)
            self._unanswered -= 1
            if not self._unanswered:
                self._all_answered.set()

    def _on_fix(self, message: NavSatFix) -> None:
        with self._lock:
            if (frame := self._frames.get(stamp_to_ns(message.header.stamp))) is not None:
                frame.accepted = True


def _black(compressed: bool) -> CompressedImage | ImageMessage:
    """Return a black camera message, with a stamp that no recording has."""
    image = np.zeros((96, 128, 3), np.uint8)
    header = Header(stamp=Time(nanosec=1))
    if compressed:
        return compressed_from_rgb(image, header)
    return ImageMessage(header=header, height=96, width=128, encoding="rgb8", step=384, data=image.tobytes())


def replay_through_node(
    recording: Recording, parameters: dict[str, object], log: Path, rate: float
) -> tuple[list[FrameAnswer], int]:
    """Start the node, send it the recording, stop it; return the answers and the number of frames sent."""
    parameters = {
        "compressed": recording.compressed,
        "reliability": "reliable",
        "use_sim_time": True,
    } | parameters
    with _private_domain(), node_process(parameters, {}, log) as process:
        # signals are ours: ROS's own handler would end the context under the player
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        player = Player(recording.compressed)
        try:
            player.rehearse(process)
            player.play(recording.frames(), len(recording.images), rate, process)
            return player.answers(), player.sent
        finally:
            player.close()
            rclpy.try_shutdown()


@contextmanager
def _private_domain() -> Iterator[None]:
    """Keep a replay off the robot's own network, unless the user chose a domain."""
    humble = os.environ.get("ROS_DISTRO") == "humble"
    local = {"ROS_LOCALHOST_ONLY": "1"} if humble else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    added = {"ROS_DOMAIN_ID": str(1 + os.getpid() % 100)} | local
    added = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def write_answers(file: Path, answers: Sequence[FrameAnswer]) -> None:
    """Write one line an answer, as csv."""
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(field.name for field in fields(FrameAnswer))
        for answer in answers:
            values = asdict(answer) | {"places": " ".join(map(str, answer.places))}
            writer.writerow(values.values())


def replay(
    data: Path,
    map: Path,  # noqa: A002  the option is called --map
    out: Path,
    weights: Path = DEFAULT_WEIGHTS,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    rate: float = 1.0,
    frame_rate: float = 5.0,
    device: str = "auto",
) -> dict[str, Any]:
    """Replay a drive through the node and compare what it publishes with the drive's own fixes.

    Args:
        data: Bag, or folder of images, with geotags to compare with.
        map: Folder of the map.
        out: Folder for metrics.json, answers.csv, drive.png and node.log.
        weights: Weights file that the map was built with.
        session: Of a folder: only its images.
        rows: Of a folder: only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        rate: Times as fast as it was recorded.
        frame_rate: Images a second of a folder without rising time stamps.
        device: auto, cuda or cpu.
    """
    if not (rate > 0 and frame_rate > 0):
        raise InputError(f"--rate {rate:g}, --frame-rate {frame_rate:g}: expected positive numbers")
    place_map = open_map(map)
    recording = open_recording(data, session, rows, image_topic, fix_topic, frame_rate)
    out.mkdir(parents=True, exist_ok=True)
    parameters: dict[str, object] = {"map": map.resolve(), "weights": weights.resolve(), "device": device}
    answers, sent = replay_through_node(recording, parameters, out / "node.log", rate)
    figures = summarise(answers, recording.images.rows, place_map.places, sent)
    (out / "metrics.json").write_text(json.dumps(figures, indent=1))
    write_answers(out / "answers.csv", answers)
    print(table(figures))
    draw_drive(
        out / "drive.png",
        recording.images,
        answers,
        place_map,
        f"{data.name}: {sent} frames, a map of {len(place_map)} places",
    )
    return figures


def main() -> None:
    """Run the command."""
    run(replay)


if __name__ == "__main__":
    main()
