"""Geotagged images from whatever a path holds: a bag, a folder of images, a public data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.bag import read_bag
from vpr_ros.drives.bag_file import is_bag
from vpr_ros.drives.datasets.dbstruct import read_dbstruct
from vpr_ros.drives.datasets.kitti_odometry import is_kitti_odometry, read_kitti_odometry
from vpr_ros.drives.datasets.kitti_raw import is_kitti_raw, read_kitti_raw
from vpr_ros.drives.datasets.local_frame import parse_datum
from vpr_ros.drives.datasets.msls import is_msls, read_msls
from vpr_ros.drives.datasets.panorama import parse_headings, parse_pitches, parse_size, views_of
from vpr_ros.drives.datasets.photos_and_track import has_track, read_photos_and_track
from vpr_ros.drives.datasets.pose_bag import read_pose_bag
from vpr_ros.drives.datasets.utm_metres import parse_zone
from vpr_ros.drives.datasets.utm_names import has_utm_names, read_utm_names
from vpr_ros.drives.folder import TABLE, read_folder
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, join, only_session


@dataclass(frozen=True)
class Format:
    """One way in which geotagged images are stored.

    Attributes:
        looks: tells whether a path holds it.
        read: returns the images of a path.
        options: of `read`, each with what makes its value of a text; it raises InputError or ValueError.
        takes: what `read` takes of that which `read_source` is told of drives.
        file: whether the path may be a file.
    """

    looks: Callable[[Path], bool]
    read: Callable[..., GeotaggedImages]
    options: Mapping[str, Callable[[str], object]] = field(default_factory=dict)
    takes: Sequence[str] = ()
    file: bool = False


_DRIVE = ("max_fix_gap", "spacing")
_BAG = ("image_topic", "fix_topic", *_DRIVE)


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _read_bag(
    path: Path,
    image_topic: str | None,
    fix_topic: str | None,
    max_fix_gap: float,
    spacing: float,
    **poses: Any,  # options of read_pose_bag
) -> GeotaggedImages:
    """Read a bag by its poses where they have a datum, else by its fixes."""
    if "datum" in poses:
        return read_pose_bag(path, image_topic=image_topic, max_fix_gap=max_fix_gap, spacing=spacing, **poses)
    if poses:
        raise InputError(f"{path}: poses need a datum, as in bag,datum=49.0/8.4:{path}")
    return read_bag(path, image_topic, fix_topic, max_fix_gap, spacing)


def _read_panoramas(
    path: Path,
    image_topic: str | None,
    fix_topic: str | None,
    max_fix_gap: float,
    spacing: float,
    **views: Any,  # options of views_of
) -> GeotaggedImages:
    """Read the views of what any other source holds."""
    panoramas = read_source(path, image_topic, fix_topic, max_fix_gap, spacing)
    return views_of(panoramas, path, **views)


#: In the order in which they are looked for. A folder that looks like none of them is one of EXIF geotags.
FORMATS = {
    "bag": Format(
        is_bag,
        _read_bag,
        {"datum": parse_datum, "heading": float, "poses": str},
        takes=_BAG,
        file=True,
    ),
    "track": Format(has_track, read_photos_and_track, {"file": _path, "clock_offset": float}, takes=_DRIVE),
    "folder": Format(lambda path: (path / TABLE).is_file(), read_folder),
    "dbstruct": Format(
        lambda path: path.suffix == ".mat",
        read_dbstruct,
        {"images": _path, "queries": _path, "zone": parse_zone},
        file=True,
    ),
    "msls": Format(is_msls, read_msls, {"zone": parse_zone}),
    "kitti-raw": Format(is_kitti_raw, read_kitti_raw, takes=_DRIVE),
    "kitti": Format(
        is_kitti_odometry,
        read_kitti_odometry,
        {"datum": parse_datum, "heading": float, "poses": _path},
        takes=_DRIVE,
    ),
    "utm": Format(has_utm_names, read_utm_names, {"zone": parse_zone}),
    "panorama": Format(
        lambda path: False,  # pictures twice as wide as high may be of anything
        _read_panoramas,
        {"headings": parse_headings, "pitches": parse_pitches, "fov": float, "size": parse_size},
        takes=_BAG,
        file=True,
    ),
}
_NAMED = re.compile(r"([a-z-]+)((?:,[^:]*)?):(.+)")


@dataclass(frozen=True)
class Source:
    """Where images are read from: a name of FORMATS, its options, and the path."""

    format: str
    options: Mapping[str, object]
    path: Path


def parse_source(text: Path) -> Source:
    """Return what a path says, or FORMAT:PATH, or FORMAT,OPTION=VALUE,...:PATH; raises InputError.

    Without a format it is the one that the path looks like.
    """
    named = None if text.exists() else _NAMED.fullmatch(str(text))
    if named is None:
        looks = (name for name, form in FORMATS.items() if form.looks(text))
        return Source(next(looks, "folder"), {}, text)
    name, words, path = named.groups()
    if name not in FORMATS:
        raise InputError(f"{text}: no format '{name}': expected one of {', '.join(FORMATS)}")
    given = dict(word.partition("=")[::2] for word in words.split(",")[1:])
    return Source(name, {each: _value(name, each, given[each]) for each in given}, _path(path))


def _value(form: str, option: str, text: str) -> object:
    options = FORMATS[form].options
    if option not in options:
        raise InputError(f"{form},{option}={text}: no such option: expected {', '.join(options) or 'none'}")
    try:
        return options[option](text)
    except InputError as error:
        raise InputError(f"{form},{option}={text}: {error}") from error
    except ValueError as error:
        raise InputError(f"{form},{option}={text}: expected a number") from error


def paths_of(data: Path | Sequence[Path]) -> list[Path]:
    """Return what an option names, one path or several, as a list."""
    return [data] if isinstance(data, Path) else list(data)


def names_of(data: Path | Sequence[Path]) -> str:
    """Return the ends of paths, for whoever reads in a year what was made of them."""
    return ", ".join("/".join(path.resolve().parts[-2:]) for path in paths_of(data))


def read_source(
    path: Path,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read what `parse_source` finds; a bag without a datum as `vpr_ros.bag.read_bag` does."""
    source = parse_source(path)
    form = FORMATS[source.format]
    if source.path.is_file() and not form.file:
        raise InputError(
            f"{path}: neither a bag (.mcap, .db3, .bag), a dbStruct (.mat) nor a folder of images"
        )
    told = {
        "image_topic": image_topic,
        "fix_topic": fix_topic,
        "max_fix_gap": max_fix_gap,
        "spacing": spacing,
    }
    return form.read(source.path, **source.options, **{name: told[name] for name in form.takes})


def read_sources(
    paths: Path | Sequence[Path],
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 0.0,
) -> GeotaggedImages:
    """Read one source, or several as one table, or one session of it, or some rows of that.

    Args:
        paths: each as `parse_source` takes it.
        session: only its images.
        rows: "start:stop:step" as in Python; "::2" is every other image.
        image_topic: as for `vpr_ros.bag.read_bag`.
        fix_topic: likewise.
        max_fix_gap: seconds between two fixes of a drive above which images between them are left out.
        spacing: metres driven from one image of a drive to the next; 0 keeps all.
    """
    named = paths_of(paths)
    if not named:
        raise InputError("no data named: expected a bag or a folder of images")
    images = join([read_source(path, image_topic, fix_topic, max_fix_gap, spacing) for path in named])
    if session is not None:
        images = only_session(images, session)
    return images if rows is None else _only_rows(images, rows)


def _only_rows(images: GeotaggedImages, rows: str) -> GeotaggedImages:
    try:
        start, stop, *step = (int(part) if part else None for part in rows.split(":"))
        chosen = np.arange(len(images))[slice(start, stop, *step)]
    except (ValueError, TypeError) as error:
        raise InputError(f"rows '{rows}': expected start:stop:step, such as ::2") from error
    if not len(chosen):
        raise InputError(f"rows '{rows}' of {len(images)} images: none is left")
    return images.select(chosen)
