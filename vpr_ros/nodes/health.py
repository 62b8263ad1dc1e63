"""What a running localiser has done so far: frames counted by their fate, latency by stage."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from threading import Lock

from vpr_ros.metrics import percentiles

#: What becomes of a frame that was received: one of these.
FATES = (
    "answered",
    "superseded",  # by a newer one, before there was time for it
    "over_rate",  # of max_rate
    "refused",  # for what it holds
    "out_of_order",  # older than the one before
    "future",  # stamped after now
    "failed",  # for our own fault
    "inactive",  # when it was its turn
)
#: What else may be said of one, and what may happen beside.
MARKS, EVENTS = ("accepted", "unstamped"), ("clock_jumps", "priors_refused")


class Health:
    """Counts and latencies; written by one thread, read by another."""

    #: Frames over which latencies are told.
    WINDOW = 300

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=self.WINDOW))
        self._last_reason = ""

    def count(self, what: str, reason: str = "") -> None:
        """Count a frame, as received or by fate or mark, with the reason of a drop; or an event."""
        with self._lock:
            self._counts[what] += 1
            self._last_reason = reason or self._last_reason

    def time(self, seconds: Mapping[str, float]) -> None:
        """Add what each stage of one frame took."""
        with self._lock:
            for stage, taken in seconds.items():
                self._seconds[stage].append(taken)

    def counts(self) -> dict[str, int]:
        """Return frames received, by fate and by mark, and events."""
        with self._lock:
            return {name: self._counts[name] for name in ("received", *FATES, *MARKS, *EVENTS)}

    def latencies(self) -> dict[str, dict[str, float | None]]:
        """Return p50, p95 and p99 in milliseconds of each stage."""
        with self._lock:
            taken = {stage: list(window) for stage, window in self._seconds.items()}
        return {stage: percentiles([1e3 * second for second in window]) for stage, window in taken.items()}

    @property
    def last_reason(self) -> str:
        """Why the last frame that was refused, or failed, was."""
        with self._lock:
            return self._last_reason
