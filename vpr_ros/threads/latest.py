"""Latest frame wins: a place for one item, where a newer one replaces one that nobody took."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Latest(Generic[Item]):
    """Hands items from one thread to another; a slow taker sees fewer, never older ones."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._item: Item | None = None
        self._closed = False
        self._takers = 0  # that wait

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for an item, and none is there yet."""
        return self._takers > 0 and self._item is None

    def put(self, item: Item) -> bool:
        """Leave an item; tell whether it replaced one that was not taken."""
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def take(self) -> Item | None:
        """Wait for an item and take it; None once closed."""
        with self._changed:
            self._takers += 1
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            self._takers -= 1
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> bool:
        """Let every `take`, now and later, return None; tell whether an item was left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._item is not None
