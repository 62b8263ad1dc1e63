"""A folder that is replaced whole or not at all, whatever happens in between.

The new one is written beside its final name and renamed into place. Where the system can swap two folders
in one step, there always is one of that name; elsewhere the old one is set aside for an instant, and whoever
opens it looks there too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import sync
from vpr_ros.files.only_writer import holder, only_writer

Read = TypeVar("Read")
#: Locks: of who replaces a folder, of who has read it to do so, and of who prepares what it will hold.
WRITING, CHANGING, PREPARING = "lock", "changing.lock", "building.lock"
#: What is prepared, which the next one goes on with, and what of it serves nobody any more.
PREPARED, SCRAPPED = "building", "scrapped"
#: What a disk says that has no room, or no more for this user or process.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into; on leaving without an error it stands at `folder`.

    Raises:
        InputError: another process is writing it.
        OSError: no room, or no right to write; in one line, and what stood there before still does.
    """
    folder = folder.resolve()  # what a link points to is replaced, not the link
    with _locked(folder, WRITING):
        _clean(folder)
        partial = beside(folder, "partial")
        partial.mkdir()
        try:
            yield partial
            _sync_all(partial)
            _put(partial, folder)
        except OSError as error:
            told = _told(error, partial, folder)
            _clean(folder)
            raise told from error
        except BaseException:
            _clean(folder)
            raise
        sync(folder.parent)
        _clean(folder)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep others from changing a folder between reading what it holds and replacing it.

    Raises InputError where another process is at it.
    """
    folder = folder.resolve()
    if not folder.parent.exists():  # nor has anybody else anything there to change
        yield
        return
    with _locked(folder, CHANGING):
        with _locked(folder, WRITING):
            _clean(folder)  # what was set aside has its name again before it is read
        yield


def standing(folder: Path) -> Path:
    """Return where the folder is: at its name or, where a replacement was cut short, set aside."""
    aside = beside(folder, "previous")
    return aside if aside.exists() and not folder.exists() else folder


def read_whole(folder: Path, read: Callable[[Path], Read]) -> Read:
    """Return what is read from the folder, again where it was replaced meanwhile.

    Args:
        folder: by its name.
        read: is given where it is; what it opens there stays what it was, whatever is done to the names.
    """
    while True:
        before = _whereabouts(folder)
        try:
            result = read(before[0])
        except (InputError, OSError):
            if _whereabouts(folder) == before:
                raise
        else:
            if _whereabouts(folder) == before:
                return result


def writer(folder: Path) -> str | None:
    """Return who is writing or changing the folder now, or prepares to, in words, or None."""
    locks = [beside(folder, what) for what in (WRITING, CHANGING, PREPARING)]
    return next((who for lock in locks if (who := holder(lock))), None)


def leftovers(folder: Path) -> list[Path]:
    """Return what killed writers left beside the folder and nobody goes on with: the next one removes it."""
    if writer(folder):
        return []
    what = ("partial", "previous", SCRAPPED, WRITING, CHANGING, PREPARING)
    names = [beside(folder, each) for each in what]
    return [each for each in names if each.exists() and each != standing(folder)]


def scrap(folder: Path) -> None:
    """Remove what was prepared for the folder, half of which is nothing to go on with."""
    scrapped, prepared = beside(folder, SCRAPPED), beside(folder, PREPARED)
    _remove(scrapped)
    if prepared.exists():
        prepared.rename(scrapped)
        _remove(scrapped)


def beside(folder: Path, what: str) -> Path:
    """Return the hidden name beside a folder, or beside what a link points to, for what becomes of it."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.{what}")


def files_below(folder: Path) -> list[str]:
    """Return the files of a folder and of those in it, as sorted relative paths."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _whereabouts(folder: Path) -> tuple[Path, int, int]:
    """Return where the folder is, and which one of all that have had the name."""
    found = standing(folder)
    try:
        status = found.stat()
    except OSError:
        return found, 0, 0
    return found, status.st_ino, status.st_mtime_ns  # numbers are given again


@contextmanager
def _locked(folder: Path, what: str) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(folder.parent, os.W_OK):
        reason = f"may not be written to: {folder.name} is written beside its final name, then renamed"
        raise OSError(errno.EACCES, reason, str(folder.parent))
    with only_writer(beside(folder, what), folder):
        yield


def _clean(folder: Path) -> None:
    """Remove what is not whole; what was set aside gets its name back where nothing has taken it."""
    partial, aside = beside(folder, "partial"), beside(folder, "previous")
    _remove(partial)
    if (lock := beside(folder, CHANGING)).exists():
        with suppress(InputError), only_writer(lock, folder):
            pass  # nobody's: given back, it is gone
    preparing, scrapped = beside(folder, PREPARING), beside(folder, SCRAPPED)
    if preparing.exists() or scrapped.exists():
        with suppress(InputError), only_writer(preparing, folder):
            _remove(scrapped)
    if aside.exists():
        aside.rename(partial if folder.exists() else folder)  # half removed it is no longer called previous
        _remove(partial)


def _put(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
    elif not _exchange(partial, folder):
        folder.rename(beside(folder, "previous"))
        partial.rename(folder)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step, or tell that this system or file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(first), os.fsencode(second)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _told(error: OSError, partial: Path, folder: Path) -> OSError:
    """Return an error about room, or one without a number, as one that names the folder."""
    if error.errno is not None and error.errno not in _NO_ROOM:
        return error
    written = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder.parent).free
    reason = (
        f"{error.strerror or error}: {written / 1e6:.1f} MB of it were written, "
        f"{free / 1e6:.0f} MB are free; nothing was changed"
    )
    return OSError(error.errno or errno.EIO, reason, str(folder))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
