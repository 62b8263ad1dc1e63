"""What came of a replayed drive."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_ros.replays.answers import FrameAnswer


@dataclass(frozen=True)
class Replayed:
    """A line for every frame of a drive, in the order of recording.

    Attributes:
        final: what the localiser said.
        single: what it said of each image alone; None where that is the same, or was not told.
        filtered: whether it took the images before into account.
        threshold: probability above which it accepted its best hypothesis; infinite where never.
    """

    final: list[FrameAnswer]
    single: list[FrameAnswer] | None
    filtered: bool
    threshold: float
