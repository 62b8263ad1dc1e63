"""A drive's answers under a name, with their figures, as reports put them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vpr_ros.replays.answers import FrameAnswer
from vpr_ros.replays.frame_arrays import FrameArrays, as_arrays


@dataclass(frozen=True, eq=False)
class Run:
    """What a drive gave.

    Attributes:
        name: in a word or two, such as "filtered" or "single image".
        answers: one for each frame.
        figures: of these, from `drive_metrics.summarise`.
    """

    name: str
    answers: Sequence[FrameAnswer]
    figures: Mapping[str, Any]

    @cached_property
    def frames(self) -> FrameArrays:
        """The answers as arrays, by stamp."""
        return as_arrays(self.answers)
