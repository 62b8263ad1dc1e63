"""The places of a map from above, as paths of an SVG in metres: east to the right, north up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Units across the drawing, its height at least and at most, and the metres across at least.
ACROSS, LOWEST, HIGHEST, LEAST_M = 1000.0, 450.0, 800.0, 20.0
#: The share of the drawing's width that its scale bar has at most.
BAR = 0.2


@dataclass(frozen=True, eq=False)
class Window:
    """What a drawing shows.

    Attributes:
        centre: (2,) metres east and north, the origin of the drawing's own metres, which go east and south.
        width: metres.
        height: likewise.
        units: that the drawing is high where it is ACROSS wide; one scale for both axes.
    """

    centre: Array
    width: float
    height: float
    units: float

    @property
    def view(self) -> str:
        """The SVG's viewBox."""
        return f"{-self.width / 2:.2f} {-self.height / 2:.2f} {self.width:.2f} {self.height:.2f}"

    @property
    def bar(self) -> tuple[float, float]:
        """Metres of the scale bar, 1, 2 or 5 of some power of ten, and its units."""
        most = self.width * BAR
        power = 10.0 ** np.floor(np.log10(most))
        metres = float(power * max(each for each in (1, 2, 5) if each * power <= most))
        return metres, metres / self.width * ACROSS

    @property
    def bar_words(self) -> str:
        """Its length."""
        metres = self.bar[0]
        return f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"

    def local(self, ground: Array) -> Array:
        """Return (N, 2) metres east and north as the drawing's."""
        local: Array = (ground - self.centre) * (1.0, -1.0)
        return local


def window_around(ground: Array) -> Window:
    """Return what shows all of (N, 2) metres east and north, with a margin."""
    low, high = ground.min(axis=0), ground.max(axis=0)
    east, north = np.maximum(1.1 * (high - low), LEAST_M).tolist()
    units = float(np.clip(ACROSS * north / east, LOWEST, HIGHEST))
    width = max(east, north * ACROSS / units)
    return Window((low + high) / 2, width, width * units / ACROSS, units)


def line_through(points: Array) -> str:
    """Return the path of a line through (N, 2) points."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points.tolist())


def dots_at(points: Array) -> str:
    """Return the path that is a dot at each of (N, 2) points, where it is drawn with round ends."""
    return "".join(f"M{x:.2f} {y:.2f}h0" for x, y in points.tolist())
