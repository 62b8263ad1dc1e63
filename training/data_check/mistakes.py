"""The usual mistakes in a table of geotagged images, each told in a line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from training.data_check.facts import metres_of
from vpr_ros.drives.sessions import sessions_of
from vpr_ros.drives.track import track_heading
from vpr_ros.geodesy import Datum, to_ecef
from vpr_ros.geotagged import Rows, ground_distance

#: Metres from all others beyond which a position is none of theirs.
_FAR = 1e5
#: Images with a heading and a direction of travel below which these say nothing.
_ENOUGH = 20


def swapped(rows: Rows) -> Iterator[str]:
    """Tell where latitude and longitude seem to be swapped, by other sessions and by headings."""
    sessions = sessions_of(rows)
    centres = np.array([_centre(rows[np.concatenate(each.stretches)]) for each in sessions])
    for number, each in enumerate(sessions):
        others = np.delete(centres, number, axis=0)
        if len(others):
            there = _chord(centres[number], np.median(others, axis=0))
            turned = _chord(centres[number, ::-1], np.median(others, axis=0))
            if turned < _FAR < there:
                yield (
                    f"latitude and longitude of session '{each.name}' are swapped: it is "
                    f"{there / 1000:.0f} km from the others, swapped {turned / 1000:.1f} km"
                )
    agreement, after = _agreement(rows), _agreement(_swap(rows))
    if after - agreement > 0.3 and after > 0.9:
        yield (
            "latitude and longitude are swapped: images look the way they are driven "
            f"({after:.2f} of 1) only when they are swapped ({agreement:.2f} as they are)"
        )


def without_fix(rows: Rows, left_out: int) -> Iterator[str]:
    """Tell of images that have no position, or that of a receiver without a fix: zero, zero.

    Args:
        rows: that have one.
        left_out: images beside them.
    """
    share = left_out / (left_out + len(rows))
    if share > 0.05:  # a drive may begin before its first fix
        yield f"{left_out} of {left_out + len(rows)} images have no fix: they are left out"
    zero = (rows["latitude"] == 0) & (rows["longitude"] == 0)
    if zero.any() and not zero.all():
        others = rows[~zero]
        nearest = ground_distance(rows[zero][:1], others).min()
        if nearest > _FAR:
            first = rows["image"][zero][0]
            yield f"{zero.sum()} images lie at latitude 0, longitude 0, {first} first: they have no fix"


def same_stamp(rows: Rows) -> Iterator[str]:
    """Tell of sessions where few images share a stamp; where most do, it is that of a day or a panorama."""
    for each in sessions_of(rows):
        members = np.concatenate(each.stretches)
        stamps = rows["stamp"][members]
        stamps = stamps[stamps != 0]
        # a clock of whole seconds is too coarse for bursts
        if not len(stamps) or (stamps % 10**9 == 0).all():
            continue
        values, counts = np.unique(stamps, return_counts=True)
        repeated = int((counts - 1).sum())
        if 0 < 2 * repeated < len(stamps):
            image = rows["image"][members][rows["stamp"][members] == values[counts > 1][0]][0]
            yield (
                f"{repeated} images of session '{each.name}' have the stamp of another one, {image} first: "
                "is something recorded twice?"
            )


def same_content(images: Sequence[str], digests: Sequence[bytes]) -> Iterator[str]:
    """Tell of images that are the same, byte for byte.

    Args:
        images: (N,) names.
        digests: (N,) of their bytes.
    """
    groups: defaultdict[bytes, list[str]] = defaultdict(list)
    for image, digest in zip(images, digests, strict=True):
        groups[digest].append(image)
    twice = [names for names in groups.values() if len(names) > 1]
    if twice:
        copies = sum(len(names) - 1 for names in twice)
        yield f"{copies} images are copies of another one, such as {twice[0][1]} of {twice[0][0]}"


def _centre(rows: Rows) -> tuple[float, float]:
    return float(np.median(rows["latitude"])), float(np.median(rows["longitude"]))


def _chord(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the metres between two pairs of latitude and longitude; infinite where the first is none."""
    if abs(first[0]) > 90:
        return float("inf")
    return float(np.linalg.norm(to_ecef(*first) - to_ecef(*second)))


def _swap(rows: Rows) -> Rows:
    turned = rows.copy()
    turned["latitude"], turned["longitude"] = rows["longitude"], rows["latitude"]
    return turned


def _agreement(rows: Rows) -> float:
    """Return how constantly images look one way from the direction of travel: 0 for anyhow, 1 for always."""
    if (np.abs(rows["latitude"]) > 90).any():
        return 0.0
    turned = []
    for each in sessions_of(rows):
        for stretch in each.stretches:
            enu = metres_of(rows[stretch], Datum(*_centre(rows[stretch])))
            turned.append(np.radians(rows["heading"][stretch] - track_heading(enu)))
    angles = np.concatenate([*turned, np.empty(0)])
    angles = angles[~np.isnan(angles)]
    return float(np.abs(np.exp(1j * angles).mean())) if len(angles) >= _ENOUGH else 0.0
