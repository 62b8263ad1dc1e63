"""Memory, open handles and threads of a process over time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

#: Share of a run that is warm-up.
WARM_UP = 0.1
#: Bytes that the memory may have grown by after it, by a straight line through the samples.
GROWTH = 16 << 20


class Watched:
    """Samples of one process against frames.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._samples: list[tuple[int, int, int, int]] = []

    def sample(self, frame: int) -> None:
        """Note how much it holds after so many frames."""
        resident = int((self._proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        handles, threads = (len(list((self._proc / name).iterdir())) for name in ("fd", "task"))
        self._samples.append((frame, resident, handles, threads))

    def check(self) -> str:
        """Assert that nothing grew after the warm-up; say by how much it did."""
        frames, resident, handles, threads = np.array(self._samples).T
        warm = frames >= frames[0] + WARM_UP * (frames[-1] - frames[0])
        assert warm.sum() >= 5, "too few samples"
        frames, resident, handles, threads = (each[warm] for each in (frames, resident, handles, threads))
        slope = np.polyfit(frames - frames[0], resident, 1)[0]
        growth = slope * (frames[-1] - frames[0])
        said = (
            f"RSS {resident[0] / 2**20:.0f} to {resident[-1] / 2**20:.0f} MiB, fitted "
            f"{growth / 2**20:+.1f} MiB ({slope:+.0f} B each), "
            f"handles {handles[0]} to {handles[-1]}, threads {threads[0]} to {threads[-1]}"
        )
        assert growth <= GROWTH, said
        # one that is open for a moment may be met
        assert np.median(handles[-5:]) <= np.median(handles[:5]) + 1, said
        assert np.median(threads[-5:]) <= np.median(threads[:5]) + 1, said
        return said


def peak_after_reset() -> int:
    """Return the highest memory of this process since the last call, bytes."""
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return peak
