"""What the stamps of images say: loops of a bag, late ones, none at all, the future."""

from __future__ import annotations

from dataclasses import dataclass

#: Nanoseconds back from the latest stamp: above this time has begun anew, below it an image is only late.
LOOP = 10**9
#: Nanoseconds ahead of now that clocks of two machines may differ; simulated time comes late to the node.
AHEAD, AHEAD_SIMULATED = 10**9, 10 * 10**9


@dataclass(frozen=True)
class Judged:
    """What one stamp led to.

    Attributes:
        stamp: to answer with, nanoseconds.
        fate: out_of_order, future or refused, where the image shall not be answered; else empty.
        reason: of that.
    """

    stamp: int
    fate: str = ""
    reason: str = ""


class Stamps:
    """Judges stamps in the order in which images come.

    Attributes:
        epoch: times that time has begun anew; what was known before is of no use after.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._latest: int | None = None

    def judge(self, stamp: int, now: int, simulated: bool) -> Judged:
        """Judge an image's stamp.

        Args:
            stamp: nanoseconds; none where it is not positive.
            now: nanoseconds by the node's clock; 0 while simulated time has not begun.
            simulated: whether that is simulated time.
        """
        if stamp <= 0:
            if not now:
                return Judged(stamp, "refused", "no stamp, and simulated time has not begun")
            stamp = now
        ahead = stamp - now
        if now and ahead > (AHEAD_SIMULATED if simulated else AHEAD):
            clock = "simulated time" if simulated else "this machine's clock"
            return Judged(
                stamp,
                "future",
                f"stamped {ahead / 1e9:.1f} s ahead of {clock}: set both clocks by NTP or PTP, and "
                "use_sim_time as the camera has it",
            )
        back = 0 if self._latest is None else self._latest - stamp
        if 0 < back <= LOOP:
            return Judged(stamp, "out_of_order", f"stamped {back / 1e9:.3f} s before the image before it")
        self.epoch += back > LOOP
        self._latest = stamp
        return Judged(stamp)

    def clock_jumped(self, now: int) -> None:
        """Begin anew where the clock has gone back behind the images, and not only in their wake."""
        if self._latest is not None and self._latest - now > LOOP:
            self.epoch += 1
            self._latest = None
