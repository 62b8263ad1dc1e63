"""Three drives through the town, as bags: `python -m demo.render --out DIR`.

The second one is in the evening, in another lane, past other parked cars, and along a street that the first
never saw. The calibration's is one more of its kind, in a lane and past cars of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from demo.town import EVENING, NOON, Light, Town, drive
from vpr_ros.command import run
from vpr_ros.drives.bag_writer import DriveWriter
from vpr_ros.files.atomic_folder import replacing
from vpr_ros.geodesy import Datum, to_geodetic
from vpr_ros.images.pixels import compress

#: Where the town lies: any place on earth would do.
DATUM = Datum(52.0, 4.5, 30.0)
GPS, TRUTH = "/gps/fix", "/ground_truth/fix"
SPEED, RATE = 8.0, 5.0  # m/s, images and fixes a second
GPS_STD, GPS_MEMORY = 1.5, 20.0  # metres each axis; seconds over which the error wanders
GPS_DELAY = 70_000_000  # nanoseconds between an image and the next fix: they never coincide


@dataclass(frozen=True)
class Drive:
    """One drive through the town."""

    name: str
    route: str  # of the town
    lane: float  # metres left of the road's middle
    light: Light
    cars: int  # seed of the parked cars
    start: int  # nanoseconds since 1970


FIRST = Drive("first", "first", -1.8, NOON, 1, 1_750_000_000 * 10**9)
SECOND = Drive("second", "second", -0.6, EVENING, 2, 1_750_030_000 * 10**9)
CALIBRATION = Drive("calibration", "second", -1.2, EVENING, 3, 1_750_120_000 * 10**9)


def render_drives(out: Path, seed: int = 0) -> None:
    """Render the drives through a town and write them as rosbag2 bags, whole or not at all.

    Args:
        out: Folder; the bags are first, second and calibration in it.
        seed: Of the town.
    """
    town = Town(seed)
    with replacing(out) as partial:
        for each in (FIRST, SECOND, CALIBRATION):
            _write_drive(partial / each.name, town, each, seed)


def _write_drive(folder: Path, town: Town, each: Drive, seed: int) -> None:
    times, x, y, yaw = drive(town.route(each.route), each.lane, SPEED, RATE)
    # the road climbs gently to the north
    truth = np.stack([x, y, 0.02 * y], axis=1)
    measured = truth + _wandering(len(times), np.random.default_rng([seed, each.cars]))
    with DriveWriter(folder, fix_topics=(GPS, TRUTH)) as writer:
        for frame in tqdm(range(len(times)), desc=f"rendering the {each.name} drive", unit="frame"):
            stamp = each.start + int(times[frame] * 1e9)
            pose = (x[frame], y[frame], yaw[frame])
            noise = each.cars * 10**6 + frame
            image = town.render(*pose, each.light, cars_seed=each.cars, noise_seed=noise)
            writer.image(stamp, compress(image))
            writer.fix(TRUTH, stamp, to_geodetic(truth[frame], DATUM), 0.01)
            moved = truth[min(frame + 1, len(times) - 1)] - truth[frame]
            ahead = moved * GPS_DELAY * RATE / 1e9
            writer.fix(GPS, stamp + GPS_DELAY, to_geodetic(measured[frame] + ahead, DATUM), GPS_STD)


def _wandering(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (count, 3) metres of error that wanders, as GPS's does, rather than jumping about."""
    keep = math.exp(-1 / (RATE * GPS_MEMORY))
    steps = rng.normal(0, GPS_STD, (count, 3)) * math.sqrt(1 - keep**2)
    steps[0] = rng.normal(0, GPS_STD, 3)
    error = np.empty((count, 3))
    error[0] = steps[0]
    for frame in range(1, count):
        error[frame] = keep * error[frame - 1] + steps[frame]
    return error


if __name__ == "__main__":
    run(render_drives)
