"""A validation part held out by place: no image of it has a neighbour among the training images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.geotagged import Rows, within_radius

#: A held-out stretch is at least this many gaps long: each end of it costs a gap of training images.
STRETCH = 8
MOST_STRETCHES = 10


def split_by_place(
    rows: Rows, share: float = 0.2, gap: float = 25.0, first: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Hold out strips across the longest extent of the area; return the training and the held-out rows.

    A small area loses one strip at its end, a large one several, spread over it. Training images within
    `gap` metres of a held-out one are in neither part.

    Args:
        rows: of geotagged images.
        share: of the images that is held out, about.
        gap: metres; at least the radius within which two images show the same place.
        first: hold out the other end of each stretch.

    Raises:
        InputError: nothing would be left on one side.
    """
    if not 0 < share < 1:
        raise InputError(f"share {share:g} held out for validation: expected more than 0 and less than 1")
    along = -_along(rows) if first else _along(rows)
    extent = float(along.max() - along.min()) if len(along) else 0.0
    strips = int(np.clip(extent * share / (STRETCH * gap), 1, MOST_STRETCHES))
    held = np.zeros(len(rows), bool)
    for strip in range(1, strips + 1):
        low, high = np.quantile(along, [(strip - share) / strips, strip / strips]) if len(along) else (0, 0)
        held |= (along > low) & (along <= high)
    return _parts(rows, held, gap, extent)


def fold_by_place(
    rows: Rows, fold: int, folds: int, gap: float = 25.0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Hold out one of so many strips of equally many images; return the training and the held-out rows.

    Together the strips hold out every image once.

    Args:
        rows: of geotagged images.
        fold: 1 to folds, along the longest extent of the area.
        folds: 2 or more.
        gap: metres, as for `split_by_place`.

    Raises:
        InputError: nothing would be left on one side.
    """
    if not 1 <= fold <= folds or folds < 2:
        raise InputError(f"fold {fold} of {folds}: expected 2 folds or more, counted from 1")
    along = _along(rows)
    order = np.argsort(along, kind="stable")
    held = np.zeros(len(rows), bool)
    held[np.array_split(order, folds)[fold - 1]] = True
    return _parts(rows, held, gap, float(np.ptp(along)) if len(along) else 0.0)


def _parts(
    rows: Rows, held: NDArray[np.bool_], gap: float, extent: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    near = within_radius(rows, rows[held], gap)
    training = np.array([len(rows_near) == 0 for rows_near in near], bool)
    if not held.any() or not training.any():
        raise InputError(
            f"{len(rows)} images over {extent:.0f} m: too small an area to hold out a part {gap:g} m away "
            "from the rest for validation: name validation data with --val"
        )
    return np.flatnonzero(training), np.flatnonzero(held)


def _along(rows: Rows) -> NDArray[np.float64]:
    """Return (N,) metres along the axis of the largest extent."""
    if not len(rows):
        return np.empty(0)
    somewhere = Datum(float(rows["latitude"][0]), float(rows["longitude"][0]))
    plane = to_enu(rows["latitude"], rows["longitude"], np.zeros(len(rows)), somewhere)[:, :2]
    plane -= plane.mean(axis=0)
    _, _, axes = np.linalg.svd(plane, full_matrices=False)
    axis = axes[0] * (1 if axes[0][np.abs(axes[0]).argmax()] > 0 else -1)  # the sign of an axis is arbitrary
    along: NDArray[np.float64] = plane @ axis
    return along
