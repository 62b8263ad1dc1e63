"""Some of many to look at, and not ten views of one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def first_apart(numbers: Sequence[int], most: int, apart: Callable[[int, int], bool]) -> list[int]:
    """Return at most so many numbers, in their order, none close to one before it if there are enough.

    Args:
        numbers: those that matter most first.
        most: how many.
        apart: tells whether two of them are far enough from each other.
    """
    kept: list[int] = []
    for number in numbers:
        if len(kept) == most:
            break
        if all(apart(number, other) for other in kept):
            kept.append(number)
    left = [number for number in numbers if number not in set(kept)]
    chosen = {*kept, *left[: most - len(kept)]}
    return [number for number in numbers if number in chosen]
