"""Where odometry says that the robot is, at the time of an image."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, hypot, isfinite, sin

from vpr_ros.geodesy import wrap


@dataclass(frozen=True)
class Pose:
    """Metres and radians in the odometry's frame, which drifts and begins anywhere."""

    x: float
    y: float
    yaw: float

    @classmethod
    def of(cls, x: float, y: float, quaternion: Sequence[float]) -> Pose | None:
        """Return the pose with the yaw of a quaternion (x, y, z, w), or None where it is not finite."""
        a, b, c, d = quaternion
        pose = cls(x, y, atan2(2 * (d * c + a * b), 1 - 2 * (b * b + c * c)))
        return pose if all(map(isfinite, (pose.x, pose.y, pose.yaw))) else None

    def motion_to(self, later: Pose) -> Motion:
        """Return the way from here to there as the robot sees it from here."""
        x, y = later.x - self.x, later.y - self.y
        ahead, left = cos(self.yaw) * x + sin(self.yaw) * y, cos(self.yaw) * y - sin(self.yaw) * x
        return Motion(ahead, left, float(wrap(later.yaw - self.yaw)))


@dataclass(frozen=True)
class Motion:
    """Metres ahead and to the left, radians counter-clockwise."""

    ahead: float
    left: float
    turn: float

    @property
    def distance(self) -> float:
        """Metres from the start to the end."""
        return hypot(self.ahead, self.left)


class Odometry:
    """The latest poses, and those between them."""

    #: Poses kept: half a minute of a fast wheel encoder.
    KEPT = 3000
    #: Nanoseconds between two poses above which nothing is known of what lies between them.
    MAX_GAP = 10**9

    def __init__(self, kept: int | None = KEPT) -> None:
        """Begin without a pose; `kept` of None keeps all."""
        self._stamps: deque[int] = deque(maxlen=kept)
        self._poses: deque[Pose] = deque(maxlen=kept)

    def add(self, stamp: int, pose: Pose) -> None:
        """Append a pose; one that is older than the last begins anew, as a bag that is played again does."""
        if self._stamps and stamp <= self._stamps[-1]:
            if stamp == self._stamps[-1]:
                return
            self._stamps.clear()
            self._poses.clear()
        self._stamps.append(stamp)
        self._poses.append(pose)

    def at(self, stamp: int) -> Pose | None:
        """Return the pose at that time, in nanoseconds, or None where it is not known.

        Between two poses it is interpolated; just after the last one it is the last: an image is often
        here before the pose that follows it.
        """
        after = bisect_left(self._stamps, stamp)
        if after == len(self._stamps):
            late = bool(self._stamps) and stamp - self._stamps[-1] <= self.MAX_GAP // 4
            return self._poses[-1] if late else None
        if self._stamps[after] == stamp:
            return self._poses[after]
        if after == 0 or self._stamps[after] - self._stamps[after - 1] > self.MAX_GAP:
            return None
        first, second = self._poses[after - 1], self._poses[after]
        share = (stamp - self._stamps[after - 1]) / (self._stamps[after] - self._stamps[after - 1])
        turn = float(wrap(second.yaw - first.yaw))
        return Pose(
            first.x + share * (second.x - first.x),
            first.y + share * (second.y - first.y),
            float(wrap(first.yaw + share * turn)),
        )
