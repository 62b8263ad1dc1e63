"""Recorded drives: a ROS 1 or ROS 2 bag as a table of geotagged images."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from vpr_ros.drives.bag_file import (
    COMPRESSED,
    FIX,
    RAW,
    BagFile,
    Recorded,
    choose_topic,
    header_stamp,
    reference,
    rgb,
)
from vpr_ros.drives.track import Track, geotag, keyframes
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, Image, Undecoded, make_rows

logger = logging.getLogger(__name__)

#: Metres; beyond it a receiver reports nonsense.
MAX_ALTITUDE = 1e5


def read_bag(
    path: Path,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 1.0,
    truth: Track | None = None,
    pass_over_torn: bool = False,
) -> GeotaggedImages:
    """Read a drive: images geotagged by the fixes recorded beside them.

    Images before the first fix, after the last, or in a gap between fixes are left out, and counted in the
    log. Pixels are read when they are asked for; asking in order is fast.

    Args:
        path: rosbag2 folder, .mcap, .db3 or ROS 1 .bag.
        image_topic: of Image or CompressedImage; found where there is only one.
        fix_topic: of NavSatFix; likewise.
        max_fix_gap: seconds between two fixes above which images between them are left out.
        spacing: metres driven from one keyframe to the next; 0 keeps every image.
        truth: where the drive went, instead of the fixes.
        pass_over_torn: leave out messages that do not deserialise, instead of refusing the bag.
    """
    if not (spacing >= 0 and max_fix_gap > 0):
        raise InputError(f"spacing {spacing:g} m, max_fix_gap {max_fix_gap:g} s: expected positive numbers")
    bag = BagFile(path)
    image_topic = choose_topic(bag, (RAW, COMPRESSED), image_topic, "--image-topic")
    if truth is None:
        fix_topic = choose_topic(bag, (FIX,), fix_topic, "--fix-topic")
    drive = _scan(bag, image_topic, None if truth else fix_topic, pass_over_torn)
    track = truth or drive.track()
    if not len(track.stamps):
        raise InputError(f"{path}: none of {drive.no_fix} messages on {fix_topic} has a fix: record with GPS")
    if not drive.stamps:
        raise InputError(f"{path}: no message on {image_topic}{' deserialises' if drive.torn else ''}")
    order = np.argsort(drive.stamps, kind="stable")
    stamps, logged = np.asarray(drive.stamps, np.int64)[order], [drive.logged[number] for number in order]
    geotags = geotag(stamps, track, max_fix_gap, path)
    kept = keyframes(geotags.enu, spacing)
    logger.info(
        "%s: %d of %d images kept, one each %g m (%d outside the track, %d in gaps over %g s, "
        "%d between keyframes); %d messages without a fix, %d that do not deserialise",
        *(path, len(kept), len(stamps), spacing, geotags.outside, geotags.in_gaps, max_fix_gap),
        *(len(geotags.known) - len(kept), drive.no_fix, drive.torn),
    )
    chosen = geotags.known[kept]
    rows = make_rows(
        str(path),
        image=[reference(path, image_topic, *logged[number]) for number in chosen],
        latitude=geotags.positions[kept, 0],
        longitude=geotags.positions[kept, 1],
        altitude=geotags.positions[kept, 2],
        heading=geotags.headings[kept],
        stamp=stamps[chosen],
        session=np.full(len(chosen), path.stem),
    )
    reader = _ImageReader(bag, image_topic)

    def fetch(row: int) -> Undecoded:
        return reader.read(*logged[chosen[row]])

    return GeotaggedImages(rows, lambda row: fetch(row).rgb(), fetch)


@dataclass
class _Drive:
    """What one pass over a bag gathers."""

    stamps: list[int] = field(default_factory=list)
    logged: list[tuple[int, int]] = field(default_factory=list)  # time, and repeats of it
    fixes: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    no_fix: int = 0
    torn: int = 0

    def track(self) -> Track:
        """Return the track of the fixes."""
        stamps = sorted(self.fixes)
        positions = np.array([self.fixes[stamp] for stamp in stamps]).reshape(-1, 3)
        return Track(np.asarray(stamps, np.int64), positions)


def _scan(bag: BagFile, image_topic: str, fix_topic: str | None, pass_over_torn: bool) -> _Drive:
    drive = _Drive()
    for recorded in bag.messages({image_topic, *([fix_topic] if fix_topic else [])}):
        try:
            message = bag.deserialize(recorded)
        except InputError:
            if not pass_over_torn:
                raise
            drive.torn += 1
            continue
        stamp = header_stamp(message, recorded)
        if recorded.topic == image_topic:
            drive.stamps.append(stamp)
            drive.logged.append((recorded.time, recorded.repeat))
        elif _usable(message):
            altitude = message.altitude if abs(message.altitude) <= MAX_ALTITUDE else math.nan
            drive.fixes[stamp] = (message.latitude, message.longitude, altitude)
        else:
            drive.no_fix += 1
    return drive


def _usable(fix: Any) -> bool:
    # NaN fails both comparisons; status -1 is NavSatStatus.STATUS_NO_FIX
    return bool(fix.status.status >= 0 and abs(fix.latitude) <= 90 and abs(fix.longitude) <= 180)


class _ImageReader:
    """Reads single images of a topic; in rising order it goes through the bag once."""

    #: Nanoseconds ahead up to which reading on beats opening the stream again.
    NEAR = 10 * 10**9

    def __init__(self, bag: BagFile, topic: str) -> None:
        self._bag = bag
        self._topic = topic
        self._stream: Iterator[Recorded] = iter(())
        self._position: tuple[int, int] | None = None
        self._lock = Lock()  # there is one stream, whoever reads

    def read(self, time: int, repeat: int) -> Undecoded:
        with self._lock:
            recorded = self._find(time, repeat)
        message = self._bag.deserialize(recorded)
        data = message.data if recorded.type == COMPRESSED else None
        return Undecoded(partial(self._decode, message, recorded), data)

    def _find(self, time: int, repeat: int) -> Recorded:
        wanted = (time, repeat)
        if self._position is None or not self._position < wanted < (self._position[0] + self.NEAR, 0):
            self._stream = self._bag.messages({self._topic}, start=time)
        for recorded in self._stream:
            self._position = (recorded.time, recorded.repeat)
            if self._position == wanted:
                return recorded
        self._position = None
        raise InputError(
            f"{self._bag.path}: its image on {self._topic} at {time} ns is gone: did the bag change?"
        )

    def _decode(self, message: Any, recorded: Recorded) -> Image:
        try:
            return rgb(message, recorded.type)
        except InputError as error:
            raise InputError(f"{self._bag.path}: {recorded.topic} at {recorded.time} ns: {error}") from error
