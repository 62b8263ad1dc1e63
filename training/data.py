"""Look at data before it is used: `python training/data.py check DATA`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.data_check.clock_offset import clock_offset
from training.data_check.facts import area_of, facts_of, metres_of
from training.data_check.mistakes import same_content, same_stamp, swapped, without_fix
from training.data_check.picture import draw_data
from vpr_ros.command import run_one_of
from vpr_ros.drives.bag_file import COMPRESSED, RAW, BagFile, choose_topic
from vpr_ros.drives.sessions import sessions_of
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.image_files import images_below
from vpr_ros.sources import Source, parse_source, read_source

#: Width and height that images are compared at.
_SMALL = (64, 48)


def check(
    data: Path,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    images: int = 5000,
    picture: Path | None = None,
) -> None:
    """Say what data is found, and what is wrong with it; then exit with 1.

    Args:
        data: A folder, bag or file, as for the other commands.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        max_fix_gap: Seconds without a fix above which a drive's images are left out.
        images: That are opened at most, the first ones; 0 for all.
        picture: Draw the track, a PNG.
    """
    if images < 0:
        raise InputError(f"--images {images}: expected at least 0")
    source = parse_source(data)
    try:
        table = read_source(data, image_topic, fix_topic, max_fix_gap)
    except InputError as error:
        print(f"format: {source.format}")
        _conclude([str(error)])
        return
    for name, value in {"format": source.format, **facts_of(table.rows)}.items():
        print(f"{name}: {value}")
    if picture is not None:
        draw_data(picture, table.rows, str(data))
    left_out = _image_count(source, image_topic) - len(table)
    opened = _opened(table, min(images or len(table), len(table)))
    _conclude(
        [
            *swapped(table.rows),
            *without_fix(table.rows, max(left_out, 0)),
            *opened.unreadable,
            *same_content(opened.names, opened.digests),
            *same_stamp(table.rows),
            *_clocks(table, opened),
        ]
    )


def _conclude(wrong: list[str]) -> None:
    for line in wrong:
        print(f"wrong: {line}")
    if wrong:
        raise SystemExit(1)
    print("nothing wrong was found")


def _image_count(source: Source, image_topic: str | None) -> int:
    """Return how many images a path holds, with a fix or without; 0 where that says nothing."""
    if source.format == "bag":
        bag = BagFile(source.path)
        return bag.counts[choose_topic(bag, (RAW, COMPRESSED), image_topic, "--image-topic")]
    # the others hold images of other cameras, or of other parts of a data set
    return len(images_below(source.path)) if source.format in ("folder", "track", "utm") else 0


@dataclass(frozen=True)
class _Opened:
    """What was seen in the first images: (M,) rows that decode, names, digests, (M, 48, 64) grey."""

    rows: NDArray[np.intp]
    names: list[str]
    digests: list[bytes]
    grey: NDArray[np.uint8]
    unreadable: list[str]


def _opened(table: GeotaggedImages, count: int) -> _Opened:
    rows, digests, grey, unreadable = [], [], [], []
    for row in tqdm(range(count), desc="opening images", unit="image", delay=1):
        try:
            undecoded = table.undecoded(row)
            image = undecoded.rgb()
        except (InputError, OSError) as error:
            unreadable.append(str(error))
            continue
        data = image.tobytes() if undecoded.data is None else bytes(undecoded.data)
        rows.append(row)
        digests.append(blake2b(data, digest_size=16).digest())
        grey.append(cv2.cvtColor(cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))
    if len(unreadable) > 1:
        unreadable = [f"{len(unreadable)} images cannot be read: {unreadable[0]}"]
    names = table.rows["image"][rows].tolist()
    small = np.array(grey, np.uint8).reshape(-1, _SMALL[1], _SMALL[0])
    return _Opened(np.array(rows, np.intp), names, digests, small, unreadable)


def _clocks(table: GeotaggedImages, opened: _Opened) -> Iterator[str]:
    """Say how far the clocks of each session are apart, and tell where that is certain."""
    rows = table.rows[opened.rows]
    centre, _ = area_of(table.rows)
    for session in sessions_of(rows) if len(rows) else []:
        members = np.concatenate(session.stretches)
        grey = opened.grey[members].astype(np.int16)
        change = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
        found = clock_offset(rows["stamp"][members], change, metres_of(rows[members], centre))
        if found is None:
            continue
        print(f"clock offset of session '{session.name}': {found}")
        if found.wrong:
            how = "behind" if found.seconds > 0 else "ahead of"
            yield (
                f"the camera's clock of session '{session.name}' is {abs(found.seconds):.1f} s {how} the "
                f"GPS's: add {found.seconds:+.1f} s to its stamps"
            )


#: The commands, and what of each needs no option's name.
COMMANDS = {check: ("data",)}

if __name__ == "__main__":
    run_one_of(COMMANDS, "Look at data before it is used.")
