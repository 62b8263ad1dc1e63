"""A run that is killed or interrupted again and again: `python -m test.killing DATA OUT TRUNK`.

Every time it goes on from where it was. The processes are forked from one that has loaded everything, so that
they take a fraction of a second each.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from test.small_training import arguments, make_narrow, make_quick
from training.learning.checkpoint import load_checkpoint
from training.learning.learner import Learner
from training.train import train
from vpr_ros.command import run
from vpr_ros.encoder import load_encoder
from vpr_ros.files import atomic_file

#: Epochs enough to be killed in, with something to learn in each.
LONG = {"optimisation__epochs": 8, "optimisation__learning_rate": 0.0001, "patience": 0}


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_half_a_file(whole, file, content):
    whole(file, bytes(content[: len(content) // 2]))
    die()


def be_asked_to_stop(whole, *arguments, signals):
    for number in signals:
        os.kill(os.getpid(), number)
    whole(*arguments)


def happen_in(patch, owner, name, number, event):
    """Let something happen in place of the n-th call of a function."""
    whole, calls = getattr(owner, name), [0]

    def counted(*arguments, **options):
        calls[0] += 1
        return event(whole, *arguments) if calls[0] == number else whole(*arguments, **options)

    patch.setattr(owner, name, counted)


def events():
    """Yield what happens: in words, how a process is prepared, seconds until it is killed, its status."""
    for number in range(1, 13):  # around each file's taking the place of the one before
        prepare = partial(happen_in, owner=atomic_file, name="sync", number=number, event=die)
        yield f"sync {number}", prepare, 60, -signal.SIGKILL
    for number in (1, 2):
        prepare = partial(
            happen_in, owner=Path, name="write_bytes", number=number, event=die_with_half_a_file
        )
        yield f"write {number}", prepare, 60, -signal.SIGKILL
    for signals in ([signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]):
        event = partial(be_asked_to_stop, signals=signals)
        prepare = partial(happen_in, owner=Learner, name="_train_step", number=2, event=event)
        yield f"signals {signals}", prepare, 60, 130
    for delay in np.random.default_rng(0).uniform(0.1, 0.3, 4):
        yield f"after {delay:.2f} s", lambda patch: None, delay, -signal.SIGKILL
    yield "nothing", lambda patch: None, 60, 0


def one_run(prepare, seconds, line, function=train):
    """Run a command until it ends or dies; return its status, negative for a signal."""
    process = os.fork()
    if process:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status = 1
    try:
        sys.argv = [function.__name__, *line]
        with pytest.MonkeyPatch.context() as patch:
            prepare(patch)
            run(function)
        status = 0
    except SystemExit as error:
        status = error.code
    finally:
        os._exit(status)


def main():
    patch = pytest.MonkeyPatch()
    make_quick(patch)
    make_narrow(patch)
    data, out, trunk = map(Path, sys.argv[1:])
    checkpoint, best = out / "last.ckpt", out / "best.safetensors"
    for event, prepare, seconds, expected in events():
        resume = checkpoint.exists()
        status = one_run(prepare, seconds, arguments(data, out, trunk, resume=resume, **LONG))
        print(f"{event}: status {status}", flush=True)
        if checkpoint.exists():
            state = load_checkpoint(checkpoint)["learner"]
            print(f"epoch {state['epoch']}, {state['done']} tuples done", flush=True)
        if best.exists():
            load_encoder(best)
        if status not in (expected, 0 if seconds < 60 else expected):  # it may end before it is killed
            sys.exit(f"{event}: ended with {status}")


if __name__ == "__main__":
    main()
