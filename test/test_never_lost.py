"""A map is never lost: killed, without room, or written twice at once, it is the old one or the new one."""

import errno
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest

from test.as_command import ENVIRONMENT, ROOT, check_refusal
from test.killing_maps import add, build, kill_writers, session_of
from test.small_maps import FINGERPRINT, in_a_row, rows_at, some_map
from vpr_ros.errors import InputError
from vpr_ros.files import atomic_folder
from vpr_ros.files.atomic_folder import leftovers
from vpr_ros.place_map import open_map


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_killed_at_any_time_the_old_map_or_the_new_one_opens(tmp_path):
    """At every fifth call that changes the disk, which comes upon both, and at random times, which may not.

    At every call, and far more often, in torture/test_map_kills.py.
    """
    came = kill_writers(tmp_path, kills=36, stride=5)
    for change in ("build", "merge", "add"):
        at_calls = came[f"{change}, at calls"]
        assert at_calls["old"] > 4  # most of the work is done before the names change
        assert at_calls["new"] > 1
        assert at_calls["left over"] > 4


# --- twice at once


def test_a_second_writer_is_refused_and_the_first_one_goes_on(tmp_path, monkeypatch):
    folder = tmp_path / "map"
    build(folder, "old")
    put, told = atomic_folder._put, []

    def second(*names):
        for change in (build, add):
            with pytest.raises(InputError, match=rf"map: is being written by .*process {os.getpid()} on"):
                change(folder, "second")
            told.append(change)
        put(*names)

    monkeypatch.setattr(atomic_folder, "_put", second)
    build(folder, "first")
    assert told == [build, add]
    assert session_of(folder) == "first"
    assert names(tmp_path) == ["map"]


def test_what_was_read_to_be_changed_is_not_changed_by_another(tmp_path, monkeypatch):
    """A drive added while another is being added would be lost."""
    folder = tmp_path / "map"
    build(folder, "old")
    opened = open_map

    def meanwhile(*arguments):
        monkeypatch.setattr("vpr_ros.maps.verify.open_map", opened)
        with pytest.raises(InputError, match="map: is being written by"):
            add(folder, "second")
        return opened(*arguments)

    monkeypatch.setattr("vpr_ros.maps.verify.open_map", meanwhile)
    add(folder, "first")
    assert session_of(folder) == "first"


def test_who_opens_a_map_while_it_is_replaced_gets_the_one_or_the_other(tmp_path):
    """A node may be told to load its map again at any time."""
    folder = tmp_path / "map"
    build(folder, "old")
    opened = open_map(folder)
    child = os.fork()
    if not child:
        try:
            for number in range(30):
                build(folder, f"new {number}")
        finally:
            os._exit(0)
    seen = set()
    while not os.waitpid(child, os.WNOHANG)[0]:
        now = open_map(folder, FINGERPRINT)
        (session,) = set(now.rows()["session"].tolist())
        assert now.pictures.read(7) == f"{session} 7 ".encode() * 10
        seen.add(session)
    assert len(seen) > 5
    # what was open before is what it was
    assert set(opened.rows()["session"].tolist()) == {"old"}
    assert opened.pictures.read(7) == b"old 7 " * 10
    descriptor = opened.descriptors(np.array([3]))
    assert opened.search(descriptor, 1)[1].tolist() == [[3]]
    assert np.isfinite(opened.scores(descriptor[0], np.array([3]))).all()


# --- no room


def limited(kilobytes, line, cwd):
    """Call training/map.py where no file may be larger."""
    command = f"ulimit -f {kilobytes}; exec {shlex.quote(sys.executable)} {ROOT}/training/map.py {line}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kilobytes", [20, 70], ids=["places", "index"])
def test_without_room_a_merge_is_told_in_one_line_and_leaves_the_old_map(tmp_path, kilobytes):
    """The table of the places is the first that there is no room for, or the index."""
    build(tmp_path / "map", "old")
    some_map(tmp_path / "other", rows_at(in_a_row(300, 2.0, north=50.0), "other"), dimension=32)
    before = {each.name: each.read_bytes() for each in (tmp_path / "map").iterdir()}
    said = limited(kilobytes, "merge map other --out map", tmp_path)
    check_refusal(*said, tmp_path / "map", "MB of it were written", "MB are free", "nothing was changed")
    assert {each.name: each.read_bytes() for each in (tmp_path / "map").iterdir()} == before
    assert names(tmp_path) == ["map", "other"]


@pytest.mark.parametrize("call", ["numpy.save", "os.fsync", "vpr_ros.maps.writer.write_manifest"])
def test_a_disk_that_is_full_anywhere_leaves_the_old_map(tmp_path, monkeypatch, call):
    build(tmp_path / "map", "old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        for change in (build, add):
            with pytest.raises(OSError, match=r"No space left on device: .* MB of it were written") as caught:
                change(tmp_path / "map", "new")
            assert caught.value.filename == str(tmp_path / "map")
    assert session_of(tmp_path / "map") == "old"
    assert names(tmp_path) == ["map"]
    assert leftovers(tmp_path / "map") == []


# --- links


def test_what_a_link_points_to_is_changed(tmp_path):
    build(tmp_path / "monday", "old")
    (tmp_path / "map").symlink_to("monday", target_is_directory=True)
    for session, change in (("new", build), ("newer", add)):
        change(tmp_path / "map", session)
        assert session_of(tmp_path / "monday") == session
        assert (tmp_path / "map").is_symlink()
    assert names(tmp_path) == ["map", "monday"]
