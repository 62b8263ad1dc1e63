"""The pattern of large images that the transport drops without a word.

Fast DDS, as it comes, cuts a message above half a megabyte into datagrams that its receive buffer does not
hold, and a best-effort publisher sends none of them again.
"""

from __future__ import annotations

from collections import deque
from statistics import median

#: Bytes above which Fast DDS, as it comes, loses best-effort messages.
LARGE = 512 * 1024
#: Intervals looked at, those that are enough to tell, and how many times the shortest is suspicious.
WINDOW, ENOUGH, TIMES = 20, 10, 2.5
#: What to do about it.
CURE = (
    "Fast DDS drops large best-effort images silently: where these are large, start the camera driver with "
    "config/fastdds_shared_memory.xml, or take compressed ones (docs/troubleshooting.md)"
)


class SilentLoss:
    """Told of every image; tells whether their stamps have holes.

    The shortest interval between two images that came is at least that of the camera. Where the usual one is
    much longer, images between them are missing.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._intervals: deque[int] = deque(maxlen=WINDOW)

    def seen(self, stamp: int, size: int) -> None:
        """Note an image's stamp, nanoseconds, and bytes."""
        if size <= LARGE:
            self._last = None
            self._intervals.clear()
            return
        if self._last is not None and stamp > self._last:
            self._intervals.append(stamp - self._last)
        self._last = stamp

    def holes(self) -> str:
        """Describe the holes, or return nothing."""
        if len(self._intervals) < ENOUGH:
            return ""
        shortest, usual = min(self._intervals), median(self._intervals)
        if usual < TIMES * shortest:
            return ""
        return f"large images come {usual / 1e9:.2f} s apart, and some {shortest / 1e9:.2f} s"
