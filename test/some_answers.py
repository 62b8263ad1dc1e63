"""Answers made by hand: frames along a street eastwards, one a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from test.conftest import DATUM
from vpr_ros.geodesy import to_geodetic
from vpr_ros.replays.answers import FrameAnswer

#: Metres from one frame's truth to the next, and the variance of each axis of an answer, m^2.
STEP, VARIANCE = 5.0, 9.0


def answer(
    number: int,
    east: float = 0.0,
    north: float = 0.0,
    place_m: Sequence[float] = (1.0,),
    at: float | None = None,
    **changes: Any,
) -> FrameAnswer:
    """Return the line of a mapped frame, taken `at` metres along the street, and answered this far off."""
    true_east = number * STEP if at is None else at
    truth, found = (
        to_geodetic(metres, DATUM).tolist()
        for metres in ([true_east, 0.0, 0.0], [true_east + east, north, 0.0])
    )
    return replace(
        FrameAnswer(
            stamp=10**18 + number * 10**9,
            row=number,
            true_latitude=truth[0],
            true_longitude=truth[1],
            mapped_m=1.0,
            latitude=found[0],
            longitude=found[1],
            error_east=east,
            error_north=north,
            var_east=VARIANCE,
            cov_east_north=0.0,
            var_north=VARIANCE,
            probability=0.8,
            none=0.1,
            accepted=True,
            places=tuple(range(len(place_m))),
            place_m=tuple(place_m),
            latency=0.02,
            stages={"encode": 0.015},
        ),
        **changes,
    )


def unanswered(number: int, reason: str = "superseded") -> FrameAnswer:
    """Return the line of a frame on the map without an answer."""
    like = answer(number)
    return FrameAnswer(
        like.stamp,
        row=number,
        reason=reason,
        true_latitude=like.true_latitude,
        true_longitude=like.true_longitude,
        mapped_m=1.0,
    )


def without_truth(number: int, **changes: Any) -> FrameAnswer:
    """Return the line of an answered frame whose truth is not known."""
    nothing = dict.fromkeys(
        ("true_latitude", "true_longitude", "mapped_m", "error_east", "error_north"), math.nan
    )
    return answer(number, row=-1, place_m=(), **(nothing | changes))


def some_drive(count: int, seed: int = 0) -> list[FrameAnswer]:
    """Return a drive with everything that may happen: wrong, unmapped, unanswered, without truth."""
    draw = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        error = float(draw.exponential(15.0))
        line = answer(
            number,
            error,
            float(draw.normal()),
            sorted(draw.exponential(30.0, 10).tolist(), key=lambda _: draw.random()),
            probability=float(draw.uniform()),
            accepted=bool(draw.random() < 0.6),
            mapped_m=float(draw.choice([1.0, 40.0], p=[0.9, 0.1])),
            latency=float(draw.uniform(0.01, 0.05)),
        )
        kind = draw.random()
        lines.append(unanswered(number) if kind < 0.1 else without_truth(number) if kind < 0.2 else line)
    return lines
