"""No more often than so many times a second."""

from __future__ import annotations


class RateLimit:
    """Chooses among events, evenly, so that their mean rate is kept though they come unevenly."""

    def __init__(self) -> None:
        self._due = 0.0

    def passes(self, now: float, rate: float) -> bool:
        """Tell whether an event at `now`, seconds, may pass at `rate` Hz; 0 lets all pass."""
        if not rate:
            return True
        period = 1 / rate
        if self._due - period > now:  # of a lower rate, before it was changed
            self._due = now
        if now < self._due:
            return False
        self._due = max(self._due, now - period) + period
        return True
