"""Where the robot is known to be, roughly, before an image is seen: by GPS, or because somebody says so.

A prior narrows the search to the places that it allows. It never adds to what an image says of them: a place
that is hardly within reach counts as much as one in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_enu
from vpr_ros.place_map import PlaceMap, Places
from vpr_ros.sequence_filter import FORGET

Array = NDArray[np.float64]

#: Squared Mahalanobis distance within which 99.9 % of a normal distribution of two dimensions lie: the
#: quantile of chi-square with two degrees of freedom, -2 ln(1 - p). (Bar-Shalom, Li, Kirubarajan: Estimation
#: with Applications to Tracking and Navigation, 2001.)
WITHIN = -2 * math.log(1 - 0.999)


@dataclass(frozen=True)
class Prior:
    """A position that is known with this covariance.

    Attributes:
        latitude: WGS84 degrees.
        longitude: WGS84 degrees.
        var_east: m^2.
        cov_east_north: m^2.
        var_north: m^2.
        stamp: when the robot was there, nanoseconds; None where that holds for all times.
    """

    latitude: float
    longitude: float
    var_east: float
    cov_east_north: float
    var_north: float
    stamp: int | None = None

    def __post_init__(self) -> None:
        if not (abs(self.latitude) <= 90 and abs(self.longitude) <= 180):
            raise InputError(
                f"latitude {self.latitude:g}, longitude {self.longitude:g}: expected degrees from -90 to 90, "
                "and from -180 to 180"
            )
        determinant = self.var_east * self.var_north - self.cov_east_north**2
        if not (self.var_east > 0 and 0 < determinant < math.inf):
            raise InputError(
                f"covariance {self.var_east:g} {self.cov_east_north:g} {self.var_north:g} m^2, east and "
                "north: expected one that is positive definite"
            )

    def age(self, stamp: int) -> float:
        """Return the seconds between it and an image taken at `stamp` (ns), whichever was first."""
        return 0.0 if self.stamp is None else abs(stamp - self.stamp) / 1e9


def around(numbers: Sequence[float]) -> Prior | None:
    """Return the prior of latitude, longitude (degrees) and standard deviation (m); None of zeros."""
    if not any(numbers):
        return None
    if len(numbers) != 3 or not (math.isfinite(numbers[2]) and numbers[2] > 0):
        raise InputError(
            f"{list(numbers)}: expected a latitude, a longitude and a standard deviation in metres above 0"
        )
    latitude, longitude, std = numbers
    return Prior(latitude, longitude, std * std, 0.0, std * std)


def prior_for(stamp: int, heard: Prior | None, given: Prior | None) -> Prior | None:
    """Return what counts for an image taken at `stamp` (ns): the prior heard last, while it is fresh."""
    return heard if heard is not None and heard.age(stamp) <= FORGET else given


def within_reach(prior: Prior, place_map: PlaceMap, drive: float) -> Places | None:
    """Return the places, in any order, at which the robot may be; None where these are all.

    The prior's east and north are taken for the map's: at 50 degrees of latitude, 90 km from the datum, they
    are turned by one degree.

    Args:
        prior: that counts.
        place_map: whose places.
        drive: metres that the robot may have driven between prior and image.
    """
    centre = to_enu(prior.latitude, prior.longitude, np.nan, place_map.datum)[:2]
    shape = ellipse(prior, place_map.geotag_std, drive)
    precision = np.linalg.inv(shape)

    def inside(xy: ArrayLike) -> NDArray[np.bool_]:
        off = np.asarray(xy) - centre
        return np.asarray(np.einsum("ni,ni->n", off @ precision, off) <= 1.0)

    ground = place_map.ground
    (west, south), (east, north) = ground.mins, ground.maxes
    if inside([(west, south), (west, north), (east, south), (east, north)]).all():
        return None
    radius = math.sqrt(np.linalg.eigvalsh(shape)[-1])
    # as an array: lists of some hundred thousand take longer than the search
    circle = cKDTree([centre]).sparse_distance_matrix(ground, radius, output_type="ndarray")
    near = circle["j"].astype(np.int64)
    found: Places = near[inside(place_map.enu[near, :2])]
    return None if len(found) == len(place_map) else found


def ellipse(prior: Prior, geotag_std: float, drive: float) -> Array:
    """Return the (2, 2) matrix Q of the ellipse x' Q^-1 x <= 1 in which places are within reach.

    It encloses every point from which `drive` metres lead into the ellipse of prior and geotags, and is that
    set itself where this is a circle. (Of the ellipses around the sum of two, the one of the smallest trace:
    Kurzhanski, Valyi: Ellipsoidal Calculus for Estimation and Control, 1997.)
    """
    covariance = np.array(
        [[prior.var_east, prior.cov_east_north], [prior.cov_east_north, prior.var_north]], np.float64
    )
    known = WITHIN * (covariance + geotag_std**2 * np.eye(2))
    axis = math.sqrt(np.trace(known) / 2)
    return np.asarray((1 + drive / axis) * known + drive * (drive + axis) * np.eye(2))
