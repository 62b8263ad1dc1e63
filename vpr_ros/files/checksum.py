"""By which a file is known again."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sum_of(file: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
