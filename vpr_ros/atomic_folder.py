"""A folder that is replaced whole or not at all, whatever happens in between.

The new one is written beside its final name and renamed into place. A folder cannot be renamed over
another, so for an instant the old one is set aside; whoever opens it looks there too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpr_ros.atomic_file import sync


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into; on leaving without an error it stands at `folder`."""
    folder = folder.resolve()  # what a link points to is replaced, not the link
    partial, aside = _beside(folder, "partial"), _beside(folder, "previous")
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        _remove(partial)
        raise
    for file in files_below(partial):
        sync(partial / file)
    sync(partial)
    if folder.exists():
        _remove(aside)
        folder.rename(aside)
    partial.rename(folder)
    sync(folder.parent)
    _remove(aside)


def standing(folder: Path) -> Path:
    """Return where the folder is: at its name or, where a replacement was cut short, set aside."""
    aside = _beside(folder.resolve(), "previous")
    return aside if aside.exists() and not folder.exists() else folder


def files_below(folder: Path) -> list[str]:
    """Return the files of a folder and of those in it, as sorted relative paths."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
