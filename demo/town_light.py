"""Daylight over the demo's town, at different times of the day."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demo.town_pictures import Array, Colour, Floats


@dataclass(frozen=True)
class Light:
    """Daylight. Colours are RGB gains (1 = neutral); sun_azimuth and sun_elevation in radians (ENU)."""

    sun_azimuth: float
    sun_elevation: float
    sun: Colour
    ambient: Colour
    sky_top: Colour  # RGB 0..255
    sky_horizon: Colour  # RGB 0..255
    haze: float = 0.002  # extinction per metre
    clouds: float = 0.5  # 0..1
    lamps: float = 0.0  # brightness of lit windows and street lamps, 0..1
    brightness: float = 1.0
    noise: float = 3.0  # standard deviation, grey levels

    def gain(self, normals: Array) -> Floats:
        """RGB gain (N, 3) of surfaces with unit normals (N, 3)."""
        level = math.cos(self.sun_elevation)
        sun = (
            level * math.cos(self.sun_azimuth),
            level * math.sin(self.sun_azimuth),
            math.sin(self.sun_elevation),
        )
        facing = np.clip(normals @ np.array(sun), 0.0, None)[:, None]
        gain = (np.array(self.ambient) + facing * np.array(self.sun)) * self.brightness
        return np.asarray(gain, np.float32)


NOON = Light(-1.3, 0.95, (0.6, 0.57, 0.5), (0.68, 0.7, 0.74), (92, 142, 214), (196, 214, 232))
EVENING = Light(2.9, 0.6, (0.55, 0.44, 0.32), (0.53, 0.53, 0.58), (70, 106, 167), (208, 184, 176),
                haze=0.0035, clouds=0.65, lamps=0.3, noise=4.0)  # fmt: skip
DUSK = Light(2.9, 0.12, (0.5, 0.3, 0.16), (0.36, 0.34, 0.42), (42, 52, 98), (226, 142, 96),
             haze=0.005, clouds=0.8, lamps=0.9, noise=5.0)  # fmt: skip
