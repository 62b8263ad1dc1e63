"""A file that stays the one that was opened, whatever is done to its name."""

from __future__ import annotations

import os
import weakref
from pathlib import Path


class HeldFile:
    """A file that is read here and there for as long as this object lives.

    Not memory-mapped: reading there what is cut off later would end the process.

    Attributes:
        name: as it was opened.
    """

    def __init__(self, file: Path) -> None:
        self.name = file
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes from an offset on, fewer where the file ends before; nothing of an impossible part."""
        size = os.fstat(self._descriptor).st_size
        if not 0 <= offset < size or length <= 0:
            return b""
        # as much as there is: room for all that is asked for would be made first
        return os.pread(self._descriptor, min(length, size - offset), offset)
