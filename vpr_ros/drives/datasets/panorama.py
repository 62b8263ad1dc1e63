"""Panoramas as the perspective views that a camera would have taken where they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Lock

import numpy as np

from vpr_ros.drives.datasets.gpano import check_whole
from vpr_ros.errors import InputError
from vpr_ros.geotagged import COLUMNS, GeotaggedImages, Image, Undecoded, make_rows
from vpr_ros.images.perspective import Pinhole, closed, look

#: Pittsburgh 250k's: 24 views of 60 degrees (Torii et al., Visual Place Recognition with Repetitive
#: Structures, CVPR 2013; of its two angles github.com/Relja/netvlad/issues/46 tells).
HEADINGS = tuple(range(0, 360, 30))
PITCHES = (4.0, 26.5)
FOV = 60.0
SIZE = (640, 480)
#: Panoramas that are kept decoded: where threads read row after row, those of one and of the next.
_KEPT = 2


def views_of(
    panoramas: GeotaggedImages,
    source: Path,
    headings: Sequence[float] = HEADINGS,
    pitches: Sequence[float] = PITCHES,
    fov: float = FOV,
    size: tuple[int, int] = SIZE,
) -> GeotaggedImages:
    """Return a row for each view of each panorama: pitch by pitch, and of each its headings.

    The geotag, stamp and session are the panorama's; the heading is that of the view, and unknown where the
    panorama's is. A panorama is decoded once where its views are read one after the other, by any number of
    threads.

    Args:
        panoramas: equirectangular ones; a row's heading is that of the middle of the image.
        source: of the panoramas, which errors name.
        headings: of the views, degrees to the right of the panorama's.
        pitches: of the views, degrees above the horizon.
        fov: degrees that the width of a view sees.
        size: width and height of a view, pixels.

    Raises:
        InputError: there is no such view, or the first image is no panorama; others raise it when read.
    """
    camera = Pinhole(*size, fov)
    views = [(heading, pitch) for pitch in pitches for heading in headings]
    _check_first(panoramas, source)
    decoded = _Kept(lambda number: _panorama(panoramas, number, source))

    def read(row: int) -> Image:
        number, view = divmod(row, len(views))
        return look(decoded(number), camera, *views[view])

    columns = {name: np.repeat(panoramas.rows[name], len(views)) for name in COLUMNS}
    turned = [heading for heading, _ in views]
    columns["heading"] = (panoramas.rows["heading"][:, None] + turned).ravel() % 360
    columns["image"] = np.array(
        [f"{image}_{view_name(*view)}" for image in panoramas.rows["image"].tolist() for view in views]
    )
    return GeotaggedImages(make_rows(str(source), **columns), read)


def view_name(heading: float, pitch: float) -> str:
    """Return what tells a view from the others of its panorama."""
    return f"heading{heading:g}_pitch{pitch:g}"


def parse_headings(text: str) -> tuple[float, ...]:
    """Return degrees to the right: those of '0/90/180', or '12' in equal steps; raises InputError."""
    if "/" in text:
        return _degrees("headings", text, 360)
    if not (text.isdecimal() and 1 <= int(text) <= 360):
        raise InputError(f"headings '{text}': expected how many, 1 to 360, or degrees, such as 0/90/270")
    return tuple(360 * number / int(text) for number in range(int(text)))


def parse_pitches(text: str) -> tuple[float, ...]:
    """Return degrees above the horizon: those of '4/26.5'; raises InputError."""
    return _degrees("pitches", text, 90)


def parse_size(text: str) -> tuple[int, int]:
    """Return the width and height that '640x480' says; raises InputError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"size '{text}': expected WIDTHxHEIGHT, such as 640x480")
    return int(width), int(height)


def _degrees(what: str, text: str, bound: float) -> tuple[float, ...]:
    try:
        degrees = tuple(float(part) for part in text.split("/"))
    except ValueError as error:
        raise InputError(f"{what} '{text}': expected degrees, such as 0/26.5") from error
    different = {each % 360 for each in degrees}
    if not all(abs(each) <= bound for each in degrees) or len(different) < len(degrees):
        raise InputError(f"{what} '{text}': expected different angles of {-bound:g} to {bound:g} degrees")
    return degrees


def _check_first(panoramas: GeotaggedImages, source: Path) -> None:
    """Raise InputError where the first image is no panorama: before the work, and once for all its views."""
    try:
        undecoded = panoramas.undecoded(0)
        image = undecoded.rgb()
    except (InputError, OSError):
        return  # it is left out with a warning when its turn comes, as of every table
    _whole(image, undecoded, f"{source}: {panoramas.rows['image'][0]}")


def _panorama(panoramas: GeotaggedImages, number: int, source: Path) -> Image:
    undecoded = panoramas.undecoded(number)
    return _whole(undecoded.rgb(), undecoded, f"{source}: {panoramas.rows['image'][number]}")


def _whole(image: Image, undecoded: Undecoded, name: str) -> Image:
    """Return the closed panorama, or raise InputError where it is none."""
    try:
        if undecoded.data is not None:
            check_whole(bytes(undecoded.data))
        return closed(image)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


class _Kept:
    """What was made last, each once, however many threads ask for it at the same time."""

    def __init__(self, make: Callable[[int], Image]) -> None:
        self._make = make
        self._kept: OrderedDict[int, Future[Image]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, number: int) -> Image:
        with self._lock:
            future = self._kept.get(number)
            if new := future is None:
                future = self._kept[number] = Future()
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        if new:
            try:
                future.set_result(self._make(number))
            except BaseException as error:
                future.set_exception(error)
        return future.result()
