"""A build is interrupted, killed, shared and gone on with: the map is the one that it would have been."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from test.as_command import ENVIRONMENT, check_refusal
from test.conftest import write_image_folder
from test.killing_builds import kill_builds
from training.build_map import build_map
from vpr_ros.encoder import load_encoder
from vpr_ros.engine import Engine
from vpr_ros.maps import shards as map_shards
from vpr_ros.maps.shards import building_folder
from vpr_ros.place_map import open_map

COUNT = 22
#: Six shards: one image of the third does not decode, and none of the fifth.
SHARD, LOST = 4, {9, 16, 17, 18, 19}
#: The command, with shards as small as here, as a file that several processes can be started of; what else is
#: to happen in them goes before.
SCRIPT = """
import os, sys
from pathlib import Path
from training import build_map
from vpr_ros.maps import shards as map_shards
from vpr_ros.command import run
from vpr_ros.engine import Engine
from vpr_ros.errors import InputError

map_shards.SHARD = {shard}
rank, whole, calls = int(os.environ.get("LOCAL_RANK", 0)), Engine.encode, []
{change}
if __name__ == "__main__":
    run(build_map.build_map)
"""
#: Has a process do something while it encodes its second shard; each shard ends with a batch of nothing.
SECOND = """
def encode(engine, images):
    calls.append(1)
    if rank == {rank} and len(calls) == 4:
        {event}
    return whole(engine, images)

Engine.encode = encode
"""


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    folder = write_image_folder(tmp_path_factory.mktemp("data") / "drive", COUNT)
    for number in LOST:
        (folder / f"{number:03d}.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_shards, "SHARD", SHARD)
        yield


@pytest.fixture(scope="module")
def whole(_small, drive, weights, tmp_path_factory):
    """The map that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("maps") / "whole"
    build_map(drive, folder, weights, device="cpu")
    return folder


def check_same(folder, whole):
    """Check that two maps are alike to the last byte of each file."""
    manifest = open_map(folder).manifest
    assert manifest == open_map(whole).manifest
    assert manifest.places == COUNT - len(LOST)
    assert {"index.faiss", "places.npy", "pictures.bin"} <= set(manifest.files)


# --- interrupted and gone on with


@pytest.fixture
def stopped(_small, monkeypatch, drive, weights, tmp_path):
    """A build that was interrupted after eight images."""

    def stop_at(shards, window, encoded):
        if window.start == 8:
            raise KeyboardInterrupt
        write(shards, window, encoded)

    write = map_shards.Shards.write
    with monkeypatch.context() as patch:
        patch.setattr(map_shards.Shards, "write", stop_at)
        with pytest.raises(KeyboardInterrupt):
            build_map(drive, tmp_path / "map", weights, device="cpu")
    assert not (tmp_path / "map").exists()
    return tmp_path / "map"


def encoded_images(monkeypatch):
    """Return a list that gets the number of images of every batch that is encoded from now on."""
    encode, numbers = Engine.encode, []

    def counted(engine, images):
        numbers.append(len(images))
        return encode(engine, images)

    monkeypatch.setattr(Engine, "encode", counted)
    return numbers


def test_the_same_command_goes_on(stopped, monkeypatch, whole, drive, weights, caplog):
    caplog.set_level(logging.INFO)
    numbers = encoded_images(monkeypatch)
    build_map(drive, stopped, weights, device="cpu", geotag_std=2.0)
    assert "going on: 8 of 22 images were encoded before" in caplog.text
    assert sum(numbers) == COUNT - 8 - len(LOST)
    check_same(stopped, whole)
    assert list(stopped.parent.iterdir()) == [stopped]


def test_what_is_not_encoded_may_change_on_the_way(stopped, monkeypatch, drive, weights):
    numbers = encoded_images(monkeypatch)
    build_map(drive, stopped, weights, device="cpu", geotag_std=5.0, index="hnsw")
    opened = open_map(stopped)
    assert sum(numbers) == COUNT - 8 - len(LOST)
    assert opened.geotag_std == 5.0
    assert opened.manifest.index.startswith("HNSW")


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"weights": "other"}, "weights"),
        ({"rows": "::-1"}, "images"),
        ({"rows": ":21"}, "images"),
        ({"pictures": False}, "pictures"),
    ],
    ids=str,
)
def test_another_command_starts_afresh_and_says_so(
    stopped, monkeypatch, drive, weights, other_weights, caplog, other, name
):
    numbers = encoded_images(monkeypatch)
    if "weights" in other:
        other = {"weights": other_weights}
    build_map(drive, stopped, **({"weights": weights, "device": "cpu"} | other))
    assert f"left by a build with other {name}: starting afresh" in caplog.text
    opened = open_map(stopped)
    assert sum(numbers) == len(opened)
    assert opened.fingerprint == load_encoder(other.get("weights", weights)).fingerprint()
    assert list(stopped.parent.iterdir()) == [stopped]


def test_a_damaged_shard_is_encoded_again(call, stopped, whole, drive, weights):
    file = building_folder(stopped) / "000000004.npz"
    file.write_bytes(file.read_bytes()[:-100])
    options = ["--data", drive, "--out", stopped, "--weights", weights, "--device", "cpu"]
    check_refusal(*call(build_map, *options), file, "run the same command again")
    status, output, errors = call(build_map, *options)
    assert (status, output) == (0, f"{stopped}: 17 places of 22 images\n"), errors
    check_same(stopped, whole)


def test_an_index_that_cannot_be_is_refused_before_the_work(call, stopped, monkeypatch, drive, weights):
    numbers = encoded_images(monkeypatch)
    before = sorted(building_folder(stopped).iterdir())
    options = ["--data", drive, "--out", stopped, "--weights", weights, "--device", "cpu"]
    for wrong in (["--index", "IVF4,Nonsense"], ["--stored", "float64"], ["--rerank", "-1"]):
        check_refusal(*call(build_map, *options, *wrong), wrong[1].split(",")[-1])
    assert numbers == []
    assert sorted(building_folder(stopped).iterdir()) == before


def test_killed_anywhere_it_leaves_a_map_and_goes_on(weights, tmp_path):
    """Real processes; in many more ways in torture/test_map_kills.py."""
    kill_builds(tmp_path, weights, kills=4, stride=4)


# --- several processes


several = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a process for each core at most")


@pytest.fixture
def start(drive, weights, tmp_path):
    """Start the command in several processes, in which something is otherwise; all are gone at the end."""
    started = []

    def start(change="", launcher=(), **more):
        script = tmp_path / "build.py"
        script.write_text(SCRIPT.format(shard=SHARD, change=change))
        options = {"data": drive, "out": tmp_path / "map", "weights": weights, "device": "cpu"} | more
        line = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        process = subprocess.Popen(
            [sys.executable, *launcher, script, *line],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def left_behind(process):
    """Return the processes of its session that are alive; wait for them to end a while."""
    end = time.monotonic() + 30
    while True:
        alive = [
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and _session(folder) == process.pid
        ]
        if not alive or time.monotonic() > end:
            return alive
        time.sleep(0.05)


def _session(folder):
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return None
    return int(fields[3]) if fields[0] != "Z" else None


@several
def test_two_processes_build_the_map_of_one(start, stopped, whole):
    """They go on with what one has left."""
    process = start(devices=2, out=stopped)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, f"{stopped}: 17 places of 22 images\n"), errors
    check_same(stopped, whole)
    assert errors.count("going on: 8 of 22") == 1
    assert errors.count("left out:") == len(LOST)
    assert not building_folder(stopped).exists()


@several
def test_torchrun_starts_them_too(start, whole, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = start(launcher=launcher)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, f"{tmp_path / 'map'}: 17 places of 22 images\n"), errors
    check_same(tmp_path / "map", whole)


@several
def test_one_that_fails_ends_all_with_one_line(start, tmp_path):
    change = SECOND.format(rank=1, event='raise InputError("something is wrong")')
    process = start(change, devices=2)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, ""), errors
    assert re.findall("^error:.*", errors, re.MULTILINE) == ["error: something is wrong"]
    assert "Traceback" not in errors
    assert left_behind(process) == []
    assert not (tmp_path / "map").exists()


@several
def test_an_interrupt_of_all_is_told_once_and_gone_on_with(start, whole, drive, weights, tmp_path):
    change = SECOND.format(rank=0, event="os.killpg(0, 2)")
    process = start(change, devices=2)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (130, ""), errors
    assert "Traceback" not in errors
    assert errors.count("interrupted") == 1
    assert errors.count("the same command goes on") == 1
    build_map(drive, tmp_path / "map", weights, device="cpu")
    check_same(tmp_path / "map", whole)


@several
def test_a_first_one_that_is_killed_leaves_none_behind(start, whole, drive, weights, tmp_path):
    change = SECOND.format(rank=0, event="os.kill(os.getpid(), 9)")
    process = start(change, devices=2)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert left_behind(process) == []
    assert not (tmp_path / "map").exists()
    build_map(drive, tmp_path / "map", weights, device="cpu")
    check_same(tmp_path / "map", whole)
