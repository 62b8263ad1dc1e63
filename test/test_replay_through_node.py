"""A recorded drive through the real node: real processes over real DDS on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from test.as_command import ENVIRONMENT, ROOT
from test.error_lines import input_error
from test.ros_graph import Peer, private_domain
from test.small_drive import START, TORN, write_drive
from test.small_world import small_map, small_weights
from test.test_bag import a_drive, fix, image, ns, raw, write_mcap_file
from test.test_recording import moved
from vpr_ros.drives.bag_file import FIX
from vpr_ros.drives.recording import open_recording
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.messages import stamp_to_ns
from vpr_ros.node_process import node_process
from vpr_ros.place_map import open_map
from vpr_ros.replay import replay
from vpr_ros.replays import player
from vpr_ros.replays import through_node as ros
from vpr_ros.replays.answers import Judge, read_answers

SHARED = Path(__file__).resolve().parents[2] / "shared"
SECOND = 10**9
RUNNING = "/robot/vpr_localiser"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("world")
    weights = small_weights(root / "weights.safetensors")
    return {"weights": weights, "map": small_map(root / "map", weights), "root": root}


@pytest.fixture(scope="module")
def domain() -> Iterator[None]:
    """This process, and those that it starts, in a domain of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_domain().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def running(world: dict[str, Path], domain: None) -> Iterator[str]:
    """A node in a namespace that runs already, as a robot's does."""
    parameters = {"map": world["map"], "weights": world["weights"], "device": "cpu", "compressed": True}
    parameters |= {"reliability": "reliable"}
    with node_process(parameters, {"__ns": "/robot"}, world["root"] / "node.log"):
        yield RUNNING


def run_replay(world: dict[str, Path], drive: Path, out: Path, **options: Any) -> dict[str, Any]:
    paths: dict[str, Any] = {"map": world["map"], "weights": world["weights"]}
    return replay(**{"data": drive, "out": out, **paths, "device": "cpu", **options})


# --- a node of its own


def test_a_bag_through_a_node_and_direct_are_the_same(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways give the same hypotheses for every frame: over time, and of each image alone."""

    def in_float32(parameters: Mapping[str, object], *rest: Any) -> Any:
        return node_process({**parameters, "bfloat16": False}, *rest)  # whatever the processor is faster at

    monkeypatch.setattr(ros, "node_process", in_float32)
    drive = write_drive(tmp_path / "drive", period=SECOND // 2, instead={4: TORN})
    figures = run_replay(world, drive, tmp_path / "node", through_node=True)
    run_replay(world, drive, tmp_path / "direct")

    assert figures["frames"]["in"] == 12
    assert figures["frames"]["answered"] == 11
    assert figures["single_image"]["frames"]["answered"] == 11
    for name in ("answers.csv", "single.csv"):
        through, direct = (read_answers(tmp_path / way / name) for way in ("node", "direct"))
        for one, other in zip(through, direct, strict=True):
            assert (one.stamp, one.row, one.answered) == (other.stamp, other.row, other.answered)
            assert one.places == other.places
            pairs = (one.probability, one.latitude), (other.probability, other.latitude)
            assert pairs[0] == pytest.approx(pairs[1], nan_ok=True, rel=1e-6)
        assert through[4].reason == "no answer within 5 s"
        if name == "answers.csv":
            assert [one.accepted for one in through] == [other.accepted for other in direct]
    assert all(0 < one.latency < 5 for one in through if one.answered)
    assert "ready" in (tmp_path / "node" / "node.log").read_text()


def test_what_the_node_publishes_is_recorded(world: dict[str, Path], tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", period=SECOND // 2)
    figures = run_replay(world, drive, tmp_path / "out", through_node=True, record=True)

    stamps = [answer.stamp for answer in read_answers(tmp_path / "out" / "answers.csv")]
    with AnyReader([tmp_path / "out" / "node_output.mcap"]) as reader:
        heard: dict[str, list[int]] = {each.topic: [] for each in reader.connections}
        for connection, time, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert stamp_to_ns(message.header.stamp) == time
            heard[connection.topic].append(time)
    # those of the rehearsal are not in it; the first may have gone before the recorder was known
    for topic in ("hypotheses", "single/hypotheses", "hypothesis_poses", "match/compressed"):
        times = heard[f"/vpr_localiser/{topic}"]
        assert len(times) >= len(stamps) - 1
        assert times == stamps[-len(times) :]
    assert abs(len(heard["/vpr_localiser/fix"]) - figures["accepted"]["count"]) <= 1
    assert heard["/diagnostics"]


def test_what_another_node_publishes_is_not_recorded(world: dict[str, Path], tmp_path: Path) -> None:
    with input_error("--record goes with --through-node", "ros2 bag record"):
        run_replay(world, tmp_path / "drive", tmp_path / "out", node=RUNNING, record=True)


def test_a_hole_in_the_recording_is_not_waited_out(world: dict[str, Path], tmp_path: Path) -> None:
    """Nor are messages sent that are none, which a node cannot take."""

    def spoil(entry: Any, data: bytes) -> bytes:
        return b"\0\1\0\0" if entry.log == ns(300) and entry.topic.startswith("/camera") else data

    entries = [image(at, number) for number, at in enumerate((0, 0.5, 300, 900))]
    entries += [fix(at, (at, 0, 0)) for at in (0, 900)]
    drive = write_mcap_file(tmp_path / "drive.mcap", entries, spoil)
    started = time.monotonic()
    figures = run_replay(world, drive, tmp_path / "out", through_node=True, max_fix_gap=1000.0)
    assert time.monotonic() - started < 100
    assert figures["frames"]["answered"] == 3
    assert "deserialise" in read_answers(tmp_path / "out" / "answers.csv")[2].reason


def test_a_node_that_cannot_start_is_told_with_its_own_words(world: dict[str, Path], tmp_path: Path) -> None:
    recording = open_recording(write_drive(tmp_path / "drive"))
    judge = Judge(recording.images.rows, open_map(world["map"]))
    with input_error("not a map", "node.log"):
        ros.replay_through_own_node(recording, judge, None, {"map": tmp_path}, tmp_path / "node.log", 1.0)


def test_what_is_chosen_reaches_the_node(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):  # noqa: N818
        pass

    def start(recording: Any, judge: Any, calibration: Any, parameters: Any, *_: Any) -> None:
        raise Started({name: str(value) for name, value in parameters.items()})

    monkeypatch.setattr(ros, "replay_through_own_node", start)
    entries = [*a_drive(3), moved(1, 0.0, 0.0)]
    drive = write_mcap_file(tmp_path / "drive.mcap", entries)
    chosen = {"k": 7, "precision": 0.9, "filter": False, "max_speed": 3.0, "device": "cpu"}
    for topic in (None, "/odom"):
        with pytest.raises(Started) as started:
            run_replay(world, drive, tmp_path / "out", through_node=True, odometry_topic=topic, **chosen)
        given = {**chosen, **world, "use_odometry": topic is not None}
        del given["root"]
        assert started.value.args[0] == {name: str(value) for name, value in given.items()}


# --- a node that runs already


def test_a_node_that_does_not_tell_of_each_image_alone(
    domain: None, world: dict[str, Path], tmp_path: Path
) -> None:
    """What it does not publish is not waited for; what it says over time is told as that."""
    drive = write_drive(tmp_path / "drive", 4, period=SECOND // 4)
    parameters = {"map": world["map"], "weights": world["weights"], "device": "cpu", "compressed": True}
    parameters |= {"reliability": "reliable", "publish_single": False}
    with node_process(parameters, {"__ns": "/quiet"}, tmp_path / "node.log"):
        figures = run_replay(world, drive, tmp_path / "out", node="/quiet/vpr_localiser")
    assert figures["frames"]["answered"] == 4
    assert figures["single_image"] is None
    assert not (tmp_path / "out" / "single.csv").exists()
    report = (tmp_path / "out" / "report.html").read_text()
    assert "filtered" in report
    assert "each image alone" not in report


def test_a_running_node_is_used_and_left_running(
    running: str, world: dict[str, Path], tmp_path: Path
) -> None:
    """Twice: what it made of the first drive is nothing to the second."""
    drive = write_drive(tmp_path / "drive", period=SECOND // 4)
    for out in ("first", "second"):
        figures = run_replay(world, drive, tmp_path / out, node=running, rate=2.0)
        assert figures["frames"]["answered"] == 12
        assert figures["single_image"]["recall"]["10m"]["recall@1"] == 1.0
        assert not (tmp_path / out / "node.log").exists()
    first, second = (read_answers(tmp_path / out / "answers.csv") for out in ("first", "second"))
    assert [(each.places, each.probability) for each in first] == [
        (each.places, each.probability) for each in second
    ]


def test_the_recording_is_the_clock_and_its_odometry_is_played(
    running: str, world: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [image(n / 10, n) for n in range(10)] + [fix(n, (n, 0, 0)) for n in range(2)]
    entries += [moved(n / 10 + 0.03, float(n), 2.0 * n) for n in range(10)]
    drive = write_mcap_file(tmp_path / "drive.mcap", entries)
    peer = Peer()
    topics = {"/clock": Clock, "/robot/odometry": Odometry, "/robot/image/compressed": CompressedImage}
    for topic, kind in topics.items():
        peer.hear(kind, topic)
    done = Event()
    listening = Thread(target=lambda: peer.until(done.is_set, "the replay did not end"), daemon=True)
    listening.start()
    try:
        options = {"odometry_topic": "/odom", "to_topic": "/robot/image", "rate": 0.5}
        figures = run_replay(world, drive, tmp_path / "out", node=running, **options)
    finally:
        done.set()
        listening.join()
    clocks, steps, images = ([*peer.kept(topic)] for topic in topics)
    peer.close()

    assert figures["frames"]["answered"] == 10
    assert "leaves odometry alone" in caplog.text
    told = [stamp_to_ns(each.clock) for each in clocks]
    expected = sorted(entry.log for entry in entries if entry.kind != FIX)
    assert told == expected[-len(told) :]  # the clock waits for nobody to find it
    assert len(told) > len(expected) // 2
    assert [each.pose.pose.position.y for each in steps] == [2.0 * n for n in range(10)]
    assert [stamp_to_ns(each.header.stamp) for each in steps] == [ns(n / 10 + 0.03) for n in range(10)]
    # the rehearsal comes before it, with a stamp that is earlier than any
    sent = [stamp_to_ns(each.header.stamp) for each in images]
    assert sent[-10:] == [ns(n / 10) for n in range(10)]
    assert set(sent[:-10]) <= {1}


def test_it_takes_as_long_as_the_drive(
    running: str, world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera waits for nobody: neither for an answer nor, at twice the rate, as long."""
    recording = open_recording(write_drive(tmp_path / "drive", 9, period=SECOND // 2))
    judge = Judge(recording.images.rows, open_map(world["map"]))
    seconds = []
    sent: list[float] = []
    send = player.Player._send
    monkeypatch.setattr(player.Player, "_send", lambda *each: (sent.append(time.monotonic()), send(*each)))
    for rate in (1.0, 2.0):
        sent.clear()
        ros.replay_through_running_node(recording, judge, None, running, "image", rate, world["map"])
        seconds.append(sent[-1] - sent[0])
    assert seconds == pytest.approx([4.0, 2.0], abs=0.4)


def test_a_node_that_wants_other_images(running: str, world: dict[str, Path], tmp_path: Path) -> None:
    entries = [raw(n, "rgb8", 6, 8, 24, bytes(6 * 24)) for n in range(3)] + [
        fix(n, (n, 0, 0)) for n in range(3)
    ]
    drive = write_mcap_file(tmp_path / "drive.mcap", entries)
    with input_error(running, "wants CompressedImage", "holds Image", "compressed to false"):
        run_replay(world, drive, tmp_path / "out", node=running)


def test_another_map_than_the_nodes_is_warned_of(
    running: str, world: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drive = write_drive(tmp_path / "drive", 2, period=SECOND)
    other = small_map(tmp_path / "other", world["weights"])
    run_replay(world, drive, tmp_path / "out", node=running)
    assert "same map" not in caplog.text
    run_replay(world, drive, tmp_path / "out", node=running, map=other)
    assert "same map" in caplog.text
    assert str(other) in caplog.text


def test_a_node_that_is_not_there(
    domain: None, world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "START_TIMEOUT", 1.0)
    drive = write_drive(tmp_path / "drive", 2)
    with input_error("/nobody", "ROS_DOMAIN_ID"):
        run_replay(world, drive, tmp_path / "out", node="nobody")
    with input_error("--node 'no body!'"):
        run_replay(world, drive, tmp_path / "out", node="no body!")
    with input_error("--to-topic 'no topic'"):
        run_replay(world, drive, tmp_path / "out", node="nobody", to_topic="no topic")


def test_as_a_command_from_the_installed_script(running: str, world: dict[str, Path], tmp_path: Path) -> None:
    """What `ros2 run vpr_ros replay` runs."""
    drive = write_drive(tmp_path / "drive", 4, period=SECOND // 4)
    words = [
        drive,
        "--map",
        world["map"],
        "--out",
        tmp_path / "out",
        "--node",
        running,
        "--require",
        "answered>=1",
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "resource" / "replay"), *map(str, words)],
        env=ENVIRONMENT | private_domain(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [each.stamp for each in read_answers(tmp_path / "out" / "answers.csv")] == [
        START + n * SECOND // 4 for n in range(4)
    ]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs of ../shared")
@pytest.mark.skipif(not DEFAULT_WEIGHTS.is_file(), reason="needs the default model")
def test_the_corridor_through_the_node(tmp_path: Path) -> None:
    """Real photographs: the second walk found among those of the first, frame i being frame i (+-2)."""
    from training.build_map import build_map

    corridor = SHARED / "data" / "corridor"
    build_map(corridor, tmp_path / "map", session="ref")
    options = {"session": "query", "through_node": True, "rate": 10.0}
    paths = {"map": tmp_path / "map", "weights": DEFAULT_WEIGHTS}
    run_replay(paths, corridor, tmp_path / "out", **options)

    answers = read_answers(tmp_path / "out" / "answers.csv")
    assert len(answers) == 111
    answered = [answer for answer in answers if answer.answered]
    assert len(answered) >= 50  # the latest frame wins: a busy machine answers fewer
    right = [abs(answer.places[0] - answer.row) <= 2 for answer in answered]
    assert np.mean(right) >= 0.81  # what AlexNet, max-pooled over four quarters, reaches
