"""Jobs in processes of their own, so many at a time."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

from vpr_ros.errors import InputError

Job = TypeVar("Job")


def run_jobs(
    function: Callable[[Job], None], jobs: Sequence[tuple[Path, Job]], most: int
) -> Generator[Job, None, None]:
    """Call a function for each job; yield those that are done, in the order in which they are.

    One at a time they run in this process, where their progress is seen. Several at a time each have a
    process, whose output goes to a file. Close the generator: what has not begun then does not begin, and
    what is running is told to stop by SIGTERM, once, and waited for.

    Args:
        function: and its jobs, which can be pickled.
        jobs: each with the file that its output goes to.
        most: at a time.

    Raises:
        InputError: a job failed; it ends with the last line of its output.
    """
    if most == 1:
        for _, job in jobs:
            function(job)
            yield job
        return
    context = get_context("spawn")
    waiting = list(reversed(jobs))
    running: dict[object, tuple[SpawnProcess, Path, Job]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most:
                log, job = waiting.pop()
                log.parent.mkdir(parents=True, exist_ok=True)
                process = context.Process(target=_alone, args=(function, job, log))
                process.start()
                running[process.sentinel] = process, log, job
            for sentinel in wait(process.sentinel for process, _, _ in running.values()):
                process, log, job = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    said = (log.read_text(errors="replace").splitlines() if log.is_file() else []) or [""]
                    raise InputError(f"{log}: a process ended with {process.exitcode}: {said[-1]}")
                yield job
    finally:
        for process, _, _ in running.values():
            process.terminate()
        for process, _, _ in running.values():
            process.join()


def _alone(function: Callable[[Job], None], job: Job, log: Path) -> None:
    """Do a job in a process that was started for it."""
    os.setpgrp()  # Ctrl-C of a terminal is the first process's alone: a run that is told twice ends at once
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        function(job)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
