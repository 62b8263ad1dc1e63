"""Jobs one at a time in this process, or in processes of their own, which end when they are told to."""

import os
import signal
from contextlib import closing

import pytest

from test.error_lines import input_error
from training.comparing.jobs import run_jobs
from vpr_ros.errors import InputError


def write_process(file):
    print("writing", file.name)
    file.write_text(str(os.getpid()))


def fail(file):
    if file.name == "bad":
        raise InputError("this cannot be")
    raise ValueError("neither can this")


def wait_to_be_told(files):
    """Say in a pipe that it has begun."""
    pipe, told = files
    if pipe.name == "quick":
        pipe.with_name("slow").read_text()  # until that has begun
        return
    try:
        pipe.write_text("begun")
        signal.pause()
    except KeyboardInterrupt:
        with told.open("a") as file:
            file.write("told")
        raise


@pytest.mark.parametrize("most", [1, 2])
def test_every_job_is_done_and_yielded(tmp_path, most):
    files = [tmp_path / name for name in "abc"]
    with closing(
        run_jobs(write_process, [(tmp_path / f"{file.name}.log", file) for file in files], most)
    ) as done:
        assert sorted(done) == files
    processes = {int(file.read_text()) for file in files}
    assert processes == {os.getpid()} if most == 1 else len(processes - {os.getpid()}) == 3
    logs = [file.with_suffix(".log") for file in files]
    assert [log.is_file() and log.read_text() for log in logs] == (
        [False] * 3 if most == 1 else [f"writing {file.name}\n" for file in files]
    )


@pytest.mark.parametrize(
    ("name", "said"), [("bad", "this cannot be"), ("worse", "ValueError: neither can this")]
)
def test_a_job_that_fails_says_why_in_its_log(tmp_path, name, said):
    log = tmp_path / "logs" / "job.log"
    with input_error(log, said):
        list(run_jobs(fail, [(log, tmp_path / name)], 2))


def test_what_runs_is_told_and_what_has_not_begun_does_not_begin(tmp_path):
    os.mkfifo(tmp_path / "slow")
    jobs = [
        (tmp_path / f"{name}.log", (tmp_path / name, tmp_path / f"{name}-told"))
        for name in ("quick", "slow", "late")
    ]
    with closing(run_jobs(wait_to_be_told, jobs, 2)) as done:
        assert next(done) == jobs[0][1]
    assert (tmp_path / "slow-told").read_text() == "told"
    assert not (tmp_path / "late.log").exists()
