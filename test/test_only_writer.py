"""A lock between processes: the second is told, and it ends with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from test.as_command import ENVIRONMENT, ROOT
from test.error_lines import input_error
from test.mortal import in_a_child
from vpr_ros.errors import InputError
from vpr_ros.files.only_writer import holder, only_writer

HOLDING = """
import sys
from pathlib import Path
from vpr_ros.files.only_writer import only_writer

with only_writer(Path(sys.argv[1]), Path("map")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / ".map.lock"


@pytest.fixture
def other(lock):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(lock)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def held(lock):
    with only_writer(lock, lock.with_name("map")):
        return holder(lock)


def test_it_says_who_holds_it_and_is_gone_afterwards(lock):
    assert holder(lock) is None
    said = held(lock)
    assert f"process {os.getpid()} on {os.uname().nodename}, since " in said
    assert holder(lock) is None
    assert not lock.exists()


def test_a_second_process_is_told_of_the_first(lock, other):
    with input_error(lock.with_name("map"), "is being written by", f"process {other.pid} on"):
        held(lock)
    other.communicate(b"")
    assert held(lock)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_process(lock, other, number):
    other.send_signal(number)
    assert other.wait() == -number
    assert lock.exists()
    assert holder(lock) is None
    assert f"process {os.getpid()} " in held(lock)
    assert not lock.exists()


def test_one_that_was_removed_while_it_was_opened_is_not_taken(lock, monkeypatch):
    """The one before removes it between this one's opening and its locking: another may make a new one."""
    import fcntl

    flock, removed = fcntl.flock, []

    def late(opened, how):
        if not removed:
            removed.append(True)
            lock.unlink()
        flock(opened, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with only_writer(lock, lock):
        assert lock.exists()
        assert in_a_child(lambda: held(lock)) == 1


def test_an_error_inside_lets_it_go(lock):
    def fail():
        with only_writer(lock, lock):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not lock.exists()


@pytest.mark.parametrize(
    "refusal", [BlockingIOError(), OSError(37, "No locks available"), KeyboardInterrupt()]
)
def test_who_is_refused_leaves_no_file_open(lock, monkeypatch, refusal):
    """Some network file systems have no locks."""
    before = open_files()

    def refuse(*_):
        raise refusal

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises((InputError, OSError, KeyboardInterrupt)) as caught:
        held(lock)
    assert open_files() == before
    del caught


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
