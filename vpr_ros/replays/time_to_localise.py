"""How long a robot waits for its first right fix: at the start of a drive, and after each kidnapping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_ros.geodesy import to_ecef
from vpr_ros.replays.frame_arrays import FrameArrays

#: The truth has jumped where it moves by more: faster than any drive, and by more than its fixes' error.
JUMP_M, JUMP_SPEED = 25.0, 40.0


@dataclass(frozen=True)
class Wait:
    """From being put somewhere to knowing where.

    Attributes:
        at_s: when it began, seconds since the first frame.
        seconds: until the first accepted fix that is right; None where the robot was moved on before, or the
            drive ended.
    """

    at_s: float
    seconds: float | None


def waits(frames: FrameArrays) -> list[Wait]:
    """Return the wait at the drive's start, then one for each kidnapping; none for a drive of no frame."""
    if not len(frames):
        return []
    starts = [0, *kidnappings(frames).tolist()]
    fixes = np.flatnonzero(frames.accepted & frames.right)
    found = []
    for start, end in zip(starts, [*starts[1:], len(frames)], strict=True):
        first = fixes[(fixes >= start) & (fixes < end)][:1]
        begun = float(frames.seconds[start])
        found.append(Wait(begun, float(frames.seconds[first[0]]) - begun if len(first) else None))
    return found


def kidnappings(frames: FrameArrays) -> NDArray[np.intp]:
    """Return the numbers of the frames whose truth has jumped since the last frame that had one."""
    known = np.flatnonzero(frames.known)
    if not len(known):
        return known
    metres = np.linalg.norm(np.diff(to_ecef(*frames.truth[known].T), axis=0), axis=1)
    allowed = JUMP_M + JUMP_SPEED * np.diff(frames.seconds[known])
    jumped: NDArray[np.intp] = known[1:][metres > allowed]
    return jumped
