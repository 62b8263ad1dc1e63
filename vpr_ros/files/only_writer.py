"""One writer at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path

from vpr_ros.errors import InputError


@contextmanager
def only_writer(lock: Path, what: Path) -> Iterator[None]:
    """Hold a lock file; it is gone afterwards.

    Args:
        lock: the file.
        what: is being written, for the error.

    Raises:
        InputError: another process holds it; who, and since when.
    """
    with _locked(lock, what) as opened:
        try:
            opened.truncate(0)
            with suppress(OSError):  # a full disk: who is next will not be told by whom it is written
                opened.write(_myself().encode())
            yield
        finally:
            lock.unlink(missing_ok=True)  # before it is released: who has it open sees that it is gone


def holder(lock: Path) -> str | None:
    """Return who holds a lock file, in words, or None where nobody does."""
    try:
        opened = FileIO(lock)
    except FileNotFoundError:
        return None
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named(opened)
    return None


def _locked(lock: Path, what: Path) -> FileIO:
    while True:
        with ExitStack() as stack:
            opened = stack.enter_context(FileIO(lock, "a+"))
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = _named(opened)
                raise InputError(f"{what}: is being written by {who}: wait for it, or name another") from None
            with suppress(FileNotFoundError):  # who held it has just ended, and removed it
                if os.path.samestat(os.fstat(opened.fileno()), lock.stat()):
                    stack.pop_all()
                    return opened


def _named(opened: FileIO) -> str:
    opened.seek(0)
    return opened.readall().decode(errors="replace") or "another process"


def _myself() -> str:
    command = Path(sys.argv[0]).name or "python"
    return f"{command}, process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%H:%M:%S}"
