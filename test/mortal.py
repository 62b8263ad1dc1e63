"""Processes that are killed while they write: forked, as starting one takes a hundred times as long."""

import os
import pathlib
import signal
import traceback

#: What changes the disk, or puts it in order.
CALLS = ("mkdir", "open", "rename", "replace", "unlink", "rmdir", "fsync")


def killed_at(number, do):
    """Do something in a process that is killed just before (odd) or after (even) one of CALLS.

    Return whether it came so far.
    """
    return in_a_child(lambda: _die_at(number, do)) == -signal.SIGKILL


def in_a_child(do):
    """Do something in a forked process; return its status: 0, negative for a signal, 1 for an error."""
    child = os.fork()
    if not child:
        status = 1
        try:
            do()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(number, do):
    left = [number]

    def count():
        left[0] -= 1
        if not left[0]:
            die()

    def mortal(function):
        def call(*arguments, **options):
            count()
            result = function(*arguments, **options)
            count()
            return result

        return call

    from vpr_ros.files import atomic_folder

    atomic_folder._exchange = mortal(atomic_folder._exchange)
    for name in CALLS:
        setattr(os, name, mortal(getattr(os, name)))
        accessor = getattr(pathlib, "_NormalAccessor", None)  # of Python 3.10, which has its own references
        if hasattr(accessor, name):
            setattr(accessor, name, staticmethod(getattr(os, name)))
    do()
