"""A recorded drive through the chain: what comes out, that it is the same each time, and without ROS."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test.as_command import ENVIRONMENT, ROOT
from test.conftest import write_image_folder
from test.error_lines import check_line, input_error
from test.html_page import Page, check_stands_alone
from test.small_drive import PERIOD, START, TORN, position, write_drive
from test.small_world import small_map, small_weights
from vpr_ros import place_map
from vpr_ros.drives.recording import Frame, OdometryMessage, Recording, open_recording
from vpr_ros.errors import InputError
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.localiser import Localiser, Settings, open_localiser
from vpr_ros.odometry import Pose
from vpr_ros.place_map import open_map
from vpr_ros.replay import main, replay
from vpr_ros.replays.answers import FrameAnswer, Judge, read_answers
from vpr_ros.replays.direct import replay_direct

#: Of answers.csv: what differs from run to run.
TIMES = ("latency", "seconds ")
#: Ends a Python in which somebody asks for ROS.
WITHOUT_ROS = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        first = name.split(".")[0]
        if first == "rclpy" or first.endswith(("_msgs", "_interfaces", "_srvs")):
            raise ImportError("no ROS here: " + name)
sys.meta_path.insert(0, Blocked())
sys.argv = ["replay", *sys.argv[1:]]
import runpy
runpy.run_module("vpr_ros.replay", run_name="__main__")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("world")
    weights = small_weights(root / "weights.safetensors")
    return {
        "weights": weights,
        "map": small_map(root / "map", weights),
        "drive": write_drive(root / "drive"),
    }


@pytest.fixture
def run_replay(world: dict[str, Path], tmp_path: Path) -> Any:
    """Replay as a function, of the drive of 12 places unless another is named."""

    def run_replay(out: str = "out", **options: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"data": world["drive"], "map": world["map"], "weights": world["weights"]}
        return replay(**{"device": "cpu", **given, "out": tmp_path / out, **options})

    return run_replay


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command with these words; return its status, output and error lines."""

    def command(*words: object) -> tuple[object, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["replay", *map(str, words)])
        status: object = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        output, errors = capsys.readouterr()
        return status, output, [line for line in errors.splitlines() if line.startswith("error:")]

    return command


def without_times(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return [
            {name: value for name, value in line.items() if not name.startswith(TIMES)}
            for line in csv.DictReader(opened)
        ]


# --- what comes out


def test_a_bag(run_replay: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run_replay()

    out = tmp_path / "out"
    assert figures["drive"] == "drive"
    assert figures["places"] == 12
    assert (figures["frames"]["in"], figures["frames"]["answered"]) == (12, 12)
    assert figures["recall"]["10m"]["recall@1"] == figures["single_image"]["recall"]["10m"]["recall@1"] == 1.0
    assert figures["error_m"]["p95"] < 1.0
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(figures))
    for name in ("answers.csv", "single.csv"):
        lines = read_answers(out / name)
        assert [line.stamp for line in lines] == [START + PERIOD * place for place in range(12)]
        assert [line.row for line in lines] == [line.places[0] for line in lines] == list(range(12))
        assert all(line.latency > 0 and "encode" in line.stages for line in lines)
    assert (out / "drive.png").read_bytes().startswith(b"\x89PNG")
    assert "--data" in (out / "report.html").read_text()
    assert "recall within 10m" in capsys.readouterr().out


def test_a_map_is_opened_once(run_replay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large one that takes seconds."""
    opened: list[Path] = []

    def read(folder: Path) -> Any:
        opened.append(folder)
        return whole(folder)

    whole = place_map.read_manifest
    monkeypatch.setattr(place_map, "read_manifest", read)
    run_replay()
    assert len(opened) == 1


def test_each_image_alone(run_replay: Any, tmp_path: Path) -> None:
    filtered = run_replay()
    assert (tmp_path / "out" / "single.csv").is_file()
    alone = run_replay(filter=False)
    assert filtered["single_image"] is not None
    assert alone["single_image"] is None
    assert not (tmp_path / "out" / "single.csv").exists()  # of the run before
    assert alone["recall"] == filtered["single_image"]["recall"]


def test_the_same_each_time(run_replay: Any, tmp_path: Path) -> None:
    """Bit for bit, but for how long it took."""
    first, second = run_replay("first"), run_replay("second")
    for name in ("answers.csv", "single.csv"):
        lines = without_times(tmp_path / "first" / name)
        assert len(lines) == 12
        assert len(lines[0]) > 15
        assert lines == without_times(tmp_path / "second" / name)
    for figures in (first, second):
        for part in (figures, figures["single_image"]):
            del part["latency_ms"]
            for name in [name for name in part.get("intervals", {}) if "latency" in name]:
                del part["intervals"][name]
    assert first == second


def test_without_ros(world: dict[str, Path], tmp_path: Path) -> None:
    words = [world["drive"], "--map", world["map"], "--weights", world["weights"], "--out", tmp_path / "out"]

    def run(*more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_ROS, *map(str, [*words, *more])],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    assert len(read_answers(tmp_path / "out" / "answers.csv")) == 12
    assert "no ROS here" in run("--through-node").stderr  # so it was out of reach


def test_faster_than_it_was_driven(run_replay: Any) -> None:
    started = time.monotonic()
    seconds = run_replay()["frames"]["seconds"]
    assert seconds == pytest.approx(110)
    assert time.monotonic() - started < seconds / 2


def test_a_folder(run_replay: Any, world: dict[str, Path], tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "walk", 6, sessions=("noon", "dusk"))
    figures = run_replay(data=folder, session="dusk")
    assert figures["frames"]["in"] == 3
    assert [line.stamp for line in read_answers(tmp_path / "out" / "answers.csv")] == [
        10**9,
        3 * 10**9,
        5 * 10**9,
    ]


# --- truth


def test_frames_without_truth_are_localised_and_not_judged(run_replay: Any, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", fixes=range(3, 8))
    figures = run_replay(data=drive, max_fix_gap=60.0)
    lines = read_answers(tmp_path / "out" / "answers.csv")
    assert [line.row for line in lines] == [-1, -1, -1, 0, 1, 2, 3, 4, -1, -1, -1, -1]
    assert all(line.answered for line in lines)
    assert [line.places[0] for line in lines] == list(range(12))
    assert [np.isnan(line.error) for line in lines] == [line.row == -1 for line in lines]
    assert figures["frames"]["without_truth"] == 7


def test_truth_from_a_csv(run_replay: Any, tmp_path: Path) -> None:
    """What is right by the bag's own fixes is three places off by a csv that says so."""
    lines = [
        f"{START + place * PERIOD},{position(place + 3)[0]!r},{position(place + 3)[1]!r}"
        for place in range(9)
    ]
    (tmp_path / "truth.csv").write_text("\n".join(["stamp,latitude,longitude", *lines]))
    figures = run_replay(truth=tmp_path / "truth.csv", max_fix_gap=60.0)
    assert figures["frames"]["without_truth"] == 3
    assert figures["recall"]["25m"]["recall@1"] == 0.0
    assert figures["error_m"]["p50"] == pytest.approx(300, abs=2)


# --- damage


def test_nothing_about_one_frame_ends_a_replay(run_replay: Any, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", instead={2: TORN, 5: b"", 7: b"\x89PNG\r\n\x1a\n"})
    figures = run_replay(data=drive)
    for name in ("answers.csv", "single.csv"):
        lines = read_answers(tmp_path / "out" / name)
        assert [line.stamp for line in lines] == [START + PERIOD * place for place in range(12)]
        refused = [line for line in lines if not line.answered]
        assert [line.row for line in refused] == [2, 5, 7]
        assert all(line.reason.startswith("image of") for line in refused)
        assert all("does not decode" in line.reason and "\n" not in line.reason for line in refused)
    assert figures["frames"]["answered"] == 9
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_drive_of_which_nothing_decodes(run_replay: Any, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 3, instead=dict.fromkeys(range(3), TORN))
    assert run_replay(data=drive)["frames"]["answered"] == 0
    assert (tmp_path / "out" / "drive.png").read_bytes().startswith(b"\x89PNG")


class Watched:
    """A localiser that keeps what it is asked, and stumbles over the frames it is told to."""

    def __init__(self, localiser: Localiser, stumbles: dict[int, Exception]) -> None:
        self._localiser = localiser
        self._stumbles = stumbles
        self.asked: list[tuple[int, Pose | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._localiser, name)

    def localise(self, image: Any, stamp: int, pose: Pose | None = None) -> Any:
        self.asked.append((stamp, pose))
        if stamp in self._stumbles:
            raise self._stumbles[stamp]
        return self._localiser.localise(image, stamp, pose)


def through(world: dict[str, Path], recording: Recording, stumbles: dict[int, Exception]) -> tuple[Any, Any]:
    settings = Settings()
    localiser = Watched(open_localiser(world["weights"], world["map"], "cpu", settings), stumbles)
    judge = Judge(recording.images.rows, open_map(world["map"]))
    return replay_direct(recording, judge, localiser), localiser  # type: ignore[arg-type]


def test_stamps_and_odometry_reach_the_localiser(world: dict[str, Path]) -> None:
    """Each image has its own stamp, and the odometry that was recorded before it, not after it."""
    recording = open_recording(world["drive"])

    def messages() -> Any:
        for frame in recording.messages():
            assert isinstance(frame, Frame)
            place = (frame.stamp - START) // PERIOD
            if place >= 2:
                pose = Pose(100.0 * place, 0.0, 0.0)
                yield OdometryMessage(frame.stamp - 10**8, frame.time, pose, frame.cdr)
                yield OdometryMessage(frame.stamp, frame.time, replace(pose, y=1.0), frame.cdr)
            yield frame

    replayed, localiser = through(world, replace(recording, messages=messages), {})
    assert [stamp for stamp, _ in localiser.asked] == [START + PERIOD * place for place in range(12)]
    poses = [None, None, *(Pose(100.0 * place, 1.0, 0.0) for place in range(2, 12))]
    assert [pose for _, pose in localiser.asked] == poses
    assert len(replayed.final) == 12


def test_what_a_localiser_was_shown_before_is_nothing_to_a_replay(world: dict[str, Path]) -> None:
    recording = open_recording(world["drive"])
    judge = Judge(recording.images.rows, open_map(world["map"]))
    localiser = open_localiser(world["weights"], world["map"], "cpu", Settings())
    before = [line.probability for line in replay_direct(recording, judge, localiser).final]
    localiser.localise(CameraImage(recording.images.read(7)), START - 10**9)
    assert [line.probability for line in replay_direct(recording, judge, localiser).final] == before


def test_what_the_chain_refuses_is_one_frame_less_and_a_fault_is_not_hidden(world: dict[str, Path]) -> None:
    recording = open_recording(world["drive"])
    third = START + 3 * PERIOD
    replayed, _ = through(world, recording, {third: InputError("3x3 pixels: too small")})
    reasons = [line.reason for line in replayed.final]
    assert reasons == ["", "", "", "3x3 pixels: too small", *[""] * 8]
    with pytest.raises(ZeroDivisionError):
        through(world, recording, {third: ZeroDivisionError()})


def test_any_exception_of_a_decoder_is_that_frames(world: dict[str, Path]) -> None:
    recording = open_recording(world["drive"])

    def fail() -> Any:
        raise MemoryError("too large\nby far")

    def messages() -> Any:
        for number, frame in enumerate(recording.messages()):
            assert isinstance(frame, Frame)
            yield replace(frame, image=fail) if number == 4 else frame

    replayed, _ = through(world, replace(recording, messages=messages), {})
    lines: list[FrameAnswer] = replayed.final
    assert [line.reason for line in lines if not line.answered] == ["MemoryError: too large"]
    assert lines[4].row == 4


# --- as a command


def test_what_is_required_decides_the_status(command: Any, world: dict[str, Path], tmp_path: Path) -> None:
    words = [world["drive"], "--map", world["map"], "--weights", world["weights"], "--out", tmp_path / "out"]
    status, output, _ = command(*words, "--require", "recall@1>=0.9", "error_p50<1")
    assert status == 0
    assert "not met" not in output
    status, output, _ = command(*words, "--require", "recall@1<0.5", "error_p50<1", "answered > 1")
    assert status == 1
    unmet = [line for line in output.splitlines() if line.startswith("not met:")]
    assert len(unmet) == 2
    assert "recall@1" in unmet[0]
    assert "answered" in unmet[1]
    assert (tmp_path / "out" / "report.html").is_file()  # to see why


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--map", "MAP", "--out", "OUT"], ["BAG"]),
        (["DRIVE", "--out", "OUT"], ["--map"]),
        (["DRIVE", "--map", "MAP"], ["--out"]),
        (["DRIVE", "--map", "MAP", "--out", "OUT", "--require", "beauty>1"], ["beauty"]),
        (["DRIVE", "--map", "MAP", "--out", "OUT", "--frame-rate", "0"], ["--frame-rate"]),
        (["DRIVE", "--map", "MAP", "--out", "OUT", "--rate=-1"], ["--rate"]),
        (["DRIVE", "--map", "DRIVE", "--out", "OUT"], ["DRIVE", "map"]),
        (["gone.mcap", "--map", "MAP", "--out", "OUT"], ["gone.mcap"]),
        (["DRIVE", "--map", "MAP", "--out", "OUT", "--truth", "gone.csv"], ["gone.csv"]),
        (["DRIVE", "--map", "MAP", "--out", "OUT", "--odometry-topic", "/odom"], ["/odom"]),
        (["DRIVE", "--map", "MAP", "--out", "OUT", "--k", "0"], ["k"]),
        (["--compare", "OUT", "--out", "OUT"], ["--compare A B"]),
        (["--compare", "DRIVE", "MAP"], ["--out"]),
        (["--compare", "DRIVE", "MAP", "--out", "OUT"], ["DRIVE", "answers.csv"]),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    command: Any, world: dict[str, Path], tmp_path: Path, words: list[str], parts: list[str]
) -> None:
    paths = {"MAP": world["map"], "DRIVE": world["drive"], "OUT": tmp_path / "out"}
    if "--compare" not in words:
        words = [*words, "--weights", str(world["weights"])]
    status, _, errors = command(*(paths.get(word, word) for word in words))
    assert status == 2
    assert len(errors) == 1
    check_line(errors[0], *(paths.get(part, part) for part in parts))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_the_worst_frames_hang_on(run_replay: Any, tmp_path: Path) -> None:
    for out, heat, pictures in (("plain", False, 3), ("hot", True, 4)):
        run_replay(out, heat=heat)
        page = Page(tmp_path / out / "report.html")
        check_stands_alone(page)
        shown = sum(tag == "img" for tag, _ in page.elements)
        assert shown == pictures * sum(tag == "section" for tag, _ in page.elements) > 0
        assert ("what the retrieval hangs on" in page.text) == heat
    assert "--heat true" in page.text


def test_heat_of_a_running_nodes_answers_needs_its_weights(
    run_replay: Any, world: dict[str, Path], other_weights: Path
) -> None:
    with input_error(world["map"], "other weights"):
        run_replay(node="/nobody", heat=True, weights=other_weights)


def test_a_node_is_either_started_or_runs_already(run_replay: Any) -> None:
    with input_error("--through-node", "--node /nobody", "one of them"):
        run_replay(through_node=True, node="/nobody")


def test_two_runs_in_one_report(run_replay: Any, command: Any, tmp_path: Path) -> None:
    run_replay("a")
    run_replay("b", filter=False)
    status, output, _ = command("--compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "both")
    assert status == 0
    assert "12 frames of both" in output
    assert (tmp_path / "both" / "report.html").is_file()


def test_interrupted_it_ends_at_once_and_leaves_no_half_result(
    world: dict[str, Path], tmp_path: Path
) -> None:
    drive = write_drive(tmp_path / "long", 1500)
    words = [drive, "--map", world["map"], "--weights", world["weights"], "--out", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vpr_ros.replay", *map(str, words)],
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (tmp_path / "out").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    # by the signal where it came to code that was made of text, as rosbags' is; a shell has 130 for both
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").iterdir())
