"""A recorded drive through the real node."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from test.small_world import STEP, picture, small_map, small_weights
from vpr_ros.bag_writer import DriveWriter
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.errors import InputError
from vpr_ros.folder import read_folder
from vpr_ros.pixels import compress
from vpr_ros.place_map import open_map
from vpr_ros.recording import open_recording
from vpr_ros.replay import replay, replay_through_node
from vpr_ros.report import draw_drive

SHARED = Path(__file__).resolve().parents[2] / "shared"


def write_drive(folder: Path, places: int = 12) -> Path:
    """Write a bag that stands at each place of the small world in turn, ten times a second."""
    with DriveWriter(folder) as writer:
        for place in range(places):
            stamp = 10**18 + place * 10**8
            writer.fix("/gps/fix", stamp, (48.0 + STEP * place, 11.0, 500.0), 1.0)
            writer.image(stamp, compress(picture(place), ".png"), "png")
    return folder


def test_a_bag_through_the_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = small_weights(tmp_path / "weights.safetensors")
    place_map = small_map(tmp_path / "map", weights)
    drive = write_drive(tmp_path / "drive")

    figures = replay(drive, place_map, tmp_path / "out", weights, device="cpu")

    assert figures["frames"] == {"in": 12, "answered": 12, "dropped": 0}
    assert figures["recall"]["10m"]["recall@1"] == 1.0
    assert figures["error_m"]["p95"] < 1.0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == figures
    assert len((tmp_path / "out" / "answers.csv").read_text().splitlines()) == 13
    assert (tmp_path / "out" / "drive.png").read_bytes().startswith(b"\x89PNG")
    assert "recall within 10m" in capsys.readouterr().out


def test_a_node_that_cannot_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    recording = open_recording(write_drive(tmp_path / "drive"))
    with pytest.raises(InputError, match="not a map"):
        replay_through_node(recording, {"map": tmp_path / "none"}, tmp_path / "node.log", rate=1.0)


def test_a_folder_without_times_gets_some(tmp_path: Path) -> None:
    for name, place in (("b.png", 1), ("a.png", 0)):
        (tmp_path / name).write_bytes(compress(picture(place), ".png"))
    (tmp_path / "images.csv").write_text("image,latitude,longitude\nb.png,1,1\na.png,2,2\n")

    frames = list(open_recording(tmp_path, frame_rate=4.0).frames())

    assert [frame.row for frame in frames] == [0, 1]
    assert np.diff([frame.stamp for frame in frames]).tolist() == [250_000_000]
    assert compress(picture(1), ".png") in frames[0].data


def test_images_outside_the_fixes_are_sent_too(tmp_path: Path) -> None:
    with DriveWriter(tmp_path / "drive") as writer:
        for second in range(4):
            if second in (1, 2):
                writer.fix("/gps/fix", second * 10**9, (48.0 + second, 11.0, 0.0), 1.0)
            writer.image(second * 10**9 + 1, compress(picture(second)))

    recording = open_recording(tmp_path / "drive")

    assert [frame.row for frame in recording.frames()] == [None, 0, None, None]


def test_stamps_of_zero_and_repeated_ones_are_told_apart(tmp_path: Path) -> None:
    with DriveWriter(tmp_path / "drive") as writer:
        for place, stamp in enumerate((1, 2, 2, 3)):
            writer.fix("/gps/fix", stamp * 10**9, (48.0 + place, 11.0, 0.0), 1.0)
            writer.image(stamp * 10**9, compress(picture(place)))

    frames = list(open_recording(tmp_path / "drive").frames())

    assert [frame.stamp for frame in frames] == [10**9, 2 * 10**9, 2 * 10**9 + 1, 3 * 10**9]
    for frame in frames:  # as the node will read it, and send it back
        seconds, nanoseconds = struct.unpack("<iI", frame.data[4:12])
        assert seconds * 10**9 + nanoseconds == frame.stamp
    assert len({frame.row for frame in frames}) == 4


@pytest.mark.parametrize("stamps", [(5 * 10**18, 5 * 10**18 + 1), (10**9, 10**14), (0, 10**9), (9, 9)])
def test_photographs_with_useless_times_are_sent_at_a_steady_rate(
    tmp_path: Path, stamps: tuple[int, int]
) -> None:
    (tmp_path / "a.png").write_bytes(compress(picture(0), ".png"))
    lines = [f"a.png,1,1,{stamp}" for stamp in stamps]
    (tmp_path / "images.csv").write_text("\n".join(["image,latitude,longitude,stamp", *lines]))

    frames = list(open_recording(tmp_path, frame_rate=5.0).frames())

    assert [frame.stamp for frame in frames] == [10**9, 12 * 10**8]


def test_a_drive_without_an_answer_still_has_its_picture(tmp_path: Path) -> None:
    weights = small_weights(tmp_path / "weights.safetensors")
    recording = open_recording(write_drive(tmp_path / "drive", 3))
    draw_drive(
        tmp_path / "drive.png", recording.images, [], open_map(small_map(tmp_path / "map", weights)), "none"
    )
    assert (tmp_path / "drive.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs of ../shared")
@pytest.mark.skipif(not DEFAULT_WEIGHTS.is_file(), reason="needs the default model")
def test_the_corridor_through_the_node(tmp_path: Path) -> None:
    """Real photographs: the second walk found among those of the first, frame i being frame i (+-2)."""
    from training.build_map import build_map

    corridor = SHARED / "data" / "corridor"
    build_map(corridor, tmp_path / "map", session="ref")
    recording = open_recording(corridor, session="query")
    assert len(read_folder(corridor)) == 2 * len(recording.images)

    answers, sent = replay_through_node(recording, {"map": tmp_path / "map"}, tmp_path / "node.log", rate=1.0)

    assert sent == 111
    assert len(answers) >= 100  # the latest frame wins: a busy machine answers fewer
    right = [answer.row is not None and abs(answer.places[0] - answer.row) <= 2 for answer in answers]
    assert np.mean(right) >= 0.81  # what AlexNet, max-pooled over four quarters, reaches
