"""How pages and pictures word what they tell."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """Return so many of a thing: 1 drive, 2 drives."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def end_of(name: str, letters: int) -> str:
    """Return a name, or so many letters of the end of a long one, where the names of images differ."""
    return name if len(name) <= letters else "…" + name[1 - letters :]
