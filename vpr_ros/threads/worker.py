"""A thread that handles the latest of what it is given."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from time import sleep
from typing import Generic, TypeVar

from vpr_ros.threads.latest import Latest

Item = TypeVar("Item")

#: Seconds after which a thread that does not come back is left alone.
PATIENCE = 5.0
#: Seconds for which it is let alone with Python's lock when it begins: whoever gave it the item has things to
#: do that can wait, and by then it decodes, copies or computes without the lock.
HEAD_START = 0.001


class Worker(Generic[Item]):
    """Works from the start until it is stopped; `handle` must see to its own errors."""

    def __init__(self, name: str, handle: Callable[[Item], None]) -> None:
        self._handle = handle
        self._items: Latest[Item] = Latest()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> bool:
        """Leave an item, and sleep for a moment where it is begun at once.

        Returns whether it replaced one that was not begun.
        """
        begins = self._items.awaited
        replaced = self._items.put(item)
        if begins:
            sleep(HEAD_START)
        return replaced

    def stop(self) -> bool:
        """Let it finish the item at hand; tell whether one was left that was not begun."""
        left = self._items.close()
        self._thread.join(PATIENCE)
        return left

    def _work(self) -> None:
        while (item := self._items.take()) is not None:
            self._handle(item)
