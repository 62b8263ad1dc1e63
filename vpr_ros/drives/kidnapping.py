"""A drive as if the robot were carried off again and again: its stretches in another order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np

from vpr_ros.drives.recording import Frame, OdometryMessage, Recording
from vpr_ros.errors import InputError


def kidnapped(recording: Recording, seconds: float, seed: int = 0) -> Recording:
    """Return the recording cut into stretches of that many seconds, in an order drawn from the seed.

    From one stretch to the next lies as much time as between two frames. Odometry, which would know of the
    jumps, is left out. All frames are held, as they were recorded, in memory.
    """
    if not seconds > 0:
        raise InputError(
            f"{seconds:g} s: expected a positive number of seconds from one kidnapping to the next"
        )

    def messages() -> Iterator[Frame | OdometryMessage]:
        frames = list(recording.frames())
        if len(frames) < 2:
            yield from frames
            return
        stamps = np.array([frame.stamp for frame in frames])
        step = int(np.median(np.diff(stamps)))
        number = ((stamps - stamps[0]) // int(seconds * 1e9)).tolist()
        stretches = [
            [frame for _, frame in each]
            for _, each in groupby(zip(number, frames, strict=True), lambda of: of[0])
        ]
        now = int(stamps[0])
        for which in np.random.default_rng(seed).permutation(len(stretches)):
            stretch = stretches[which]
            for frame in stretch:
                stamp = now + frame.stamp - stretch[0].stamp
                yield replace(frame, stamp=stamp, time=stamp)
            now = stamp + step

    return replace(recording, odometry=False, messages=messages)
