"""No images: for how long, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Publisher:
    """Who publishes the image topic: name of the node, type of the messages, whether best effort."""

    node: str
    kind: str
    best_effort: bool


class Watchdog:
    """Told of every image; tells for how long there was none."""

    def __init__(self, now: float) -> None:
        self._seen = now

    def seen(self, now: float) -> None:
        """Note an image at `now`, seconds."""
        self._seen = now

    def silent(self, now: float, timeout: float) -> float:
        """Return the seconds without an image where they are more than `timeout`; 0 lets all be well."""
        silent = now - self._seen
        return silent if timeout and silent > timeout else 0.0


def why_silent(topic: str, kind: str, reliable: bool, publishers: Sequence[Publisher]) -> str:
    """Say why nothing comes on a topic where messages of `kind` are wanted, reliable or not."""
    if not publishers:
        return f"nobody publishes {topic}"
    matched = [each for each in publishers if each.kind == kind]
    if not matched:
        return f"{publishers[0].node} publishes {topic} as {publishers[0].kind}, and {kind} is wanted"
    if reliable and all(each.best_effort for each in matched):
        return (
            f"{matched[0].node} publishes {topic} best effort, and reliable is wanted: set the parameter "
            "reliability to best_effort"
        )
    return f"{matched[0].node} publishes {topic}, and nothing arrives"
