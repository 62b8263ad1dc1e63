"""Recorded drives: a ROS 1 or ROS 2 bag as a table of geotagged images."""

from __future__ import annotations

import heapq
import logging
import math
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from vpr_ros.drives.cut_mcap import read_cut_mcap
from vpr_ros.drives.track import Track, geotag, keyframes
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import GeotaggedImages, Image, Undecoded, make_rows
from vpr_ros.images.pixels import image_from_compressed, image_from_raw

logger = logging.getLogger(__name__)

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
FIX = "sensor_msgs/msg/NavSatFix"
ODOMETRY = "nav_msgs/msg/Odometry"
#: Metres; beyond it a receiver reports nonsense.
MAX_ALTITUDE = 1e5
SUFFIXES = (".mcap", ".db3", ".bag")
_REPAIR = "repair it (rosbag reindex, mcap recover)"
#: Bags without message definitions (sqlite3 ones before ROS 2 Iron) are read with these.
_TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)


@dataclass(frozen=True)
class Recorded:
    """One message of a bag, as it was recorded."""

    topic: str
    type: str
    time: int  # when it was logged, nanoseconds
    data: bytes
    reader: AnyReader | None = None  # which knows its type; none for a file that is cut
    repeat: int = 0  # messages of its topic before it that were logged at the same time


class BagFile:
    """An open bag: a ROS 1 .bag, a rosbag2 folder, or one of its files; cut-off MCAP files included.

    Attributes:
        path: as it was named.
        topics: topic to message type.
        counts: topic to the number of its messages.
        ros1: whether its messages are in ROS 1's serialisation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers, self._cut = _open_readers(path)
        weakref.finalize(self, _close, self._readers)
        self.ros1 = path.suffix == ".bag" and path.is_file()
        self.topics: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        for reader in self._readers:
            for connection in reader.connections:
                self.topics[connection.topic] = connection.msgtype
                self.counts[connection.topic] += connection.msgcount
        for file in self._cut:
            logger.warning("%s: cut off: reading what was recorded before the cut", file)
            for topic, kind, _, _ in read_cut_mcap(file):
                self.topics[topic] = kind
                self.counts[topic] += 1

    def messages(self, topics: set[str], start: int | None = None) -> Iterator[Recorded]:
        """Yield the messages of these topics, from a log time (ns) on, in the order of that time."""
        files = [
            *(_read(reader, topics, start) for reader in self._readers),
            *(_read_cut(file, topics, start) for file in self._cut),
        ]
        last: dict[str, Recorded] = {}
        try:
            for message in heapq.merge(*files, key=lambda each: each.time):
                before = last.get(message.topic)
                if before is not None and before.time == message.time:
                    message = replace(message, repeat=before.repeat + 1)  # noqa: PLW2901
                last[message.topic] = message
                yield message
        except Exception as error:  # a damaged file raises whatever its parser stumbles over
            raise InputError(f"{self.path}: damaged ({first_line(error)}): {_REPAIR}") from error

    def deserialize(self, message: Recorded) -> Any:
        """Return the message as an object with the fields of its type."""
        try:
            if message.reader:
                return message.reader.deserialize(message.data, message.type)
            return _TYPESTORE.deserialize_cdr(message.data, message.type)
        except Exception as error:
            raise self._torn(message, error) from error

    def cdr(self, message: Recorded) -> bytes:
        """Return the message in ROS 2's serialisation."""
        if not self.ros1:
            return message.data
        try:
            return bytes(_TYPESTORE.ros1_to_cdr(message.data, message.type))
        except Exception as error:
            raise self._torn(message, error) from error

    def _torn(self, message: Recorded, error: Exception) -> InputError:
        where = f"{self.path}: {message.topic} at {message.time} ns"
        return InputError(f"{where}: no {message.type} ({first_line(error)}): {_REPAIR}")


def _read(reader: AnyReader, topics: set[str], start: int | None) -> Iterator[Recorded]:
    connections = [connection for connection in reader.connections if connection.topic in topics]
    if connections:
        for connection, time, data in reader.messages(connections, start=start):
            yield Recorded(connection.topic, connection.msgtype, time, data, reader)


def _read_cut(file: Path, topics: set[str], start: int | None) -> Iterator[Recorded]:
    for topic, kind, time, data in read_cut_mcap(file, start):
        if topic in topics:
            yield Recorded(topic, kind, time, data)


def _close(readers: list[AnyReader]) -> None:
    for reader in readers:
        reader.close()


def is_bag(path: Path) -> bool:
    """Tell whether the path looks like a bag: by its suffix, or by the files in the folder."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(
            file.suffix in SUFFIXES[:2] for file in path.iterdir() if file.is_file()
        )
    return path.suffix in SUFFIXES


def _open_readers(path: Path) -> tuple[list[AnyReader], list[Path]]:
    """Return the readers of the files that open, and the MCAP files that are cut off."""
    if not path.exists():
        raise InputError(f"{path}: no such bag: expected a rosbag2 folder or a .mcap, .db3 or .bag file")
    if path.is_dir() and (path / "metadata.yaml").is_file():
        reader, _ = _try_reader(path)
        if reader:
            return [reader], []
    # a recorder that was killed leaves no metadata.yaml, or one file that is cut
    files = (
        sorted(file for file in path.iterdir() if file.suffix in SUFFIXES[:2]) if path.is_dir() else [path]
    )
    readers, cut = [], []
    for file in files:
        reader, error = _try_reader(file)
        if reader:
            readers.append(reader)
        elif file.suffix == ".mcap" and next(read_cut_mcap(file), None):
            cut.append(file)
        else:
            _close(readers)
            raise InputError(f"{file}: damaged or not a bag ({error}): {_REPAIR}")
    if not readers and not cut:
        raise InputError(f"{path}: no .mcap or .db3 file in it: expected a rosbag2 folder")
    return readers, cut


def _try_reader(path: Path) -> tuple[AnyReader | None, str]:
    try:
        reader = AnyReader([path], default_typestore=_TYPESTORE)
        reader.open()
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        return None, first_line(error)
    return reader, ""


def choose_topic(bag: BagFile, kinds: tuple[str, ...], named: str | None, option: str) -> str:
    """Return the bag's topic of these message types: the named one, or the only one.

    Raises InputError with the bag's topics where there is none or more than one.
    """
    fitting = sorted(
        topic for topic, kind in bag.topics.items() if kind in kinds and "compressedDepth" not in topic
    )
    wanted = " or ".join(kinds)
    if named is not None:
        if named not in fitting:
            raise InputError(f"{bag.path}: no {wanted} on '{named}': there is {', '.join(fitting) or 'none'}")
        return named
    if not fitting:
        others = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(bag.topics.items())) or "nothing"
        raise InputError(f"{bag.path}: no {wanted} in it: it holds {others}")
    if len(fitting) > 1:
        raise InputError(f"{bag.path}: more than one {wanted}: choose with {option}: {', '.join(fitting)}")
    return fitting[0]


def reference(path: Path, topic: str, time: int, repeat: int) -> str:
    """Name one message of a bag, as the table's `image` column does."""
    return f"{path}:{topic}@{time}" + (f"#{repeat}" if repeat else "")


def header_stamp(message: Any, recorded: Recorded) -> int:
    """Return nanoseconds of a message's header; when it was logged, where its driver stamps nothing."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec) or recorded.time


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


def rgb(message: Any, kind: str) -> Image:
    """Return (H, W, 3) RGB of a deserialised image message of that type; raises InputError."""
    if kind == COMPRESSED:
        return image_from_compressed(message.data).rgb()
    layout = (message.height, message.width, message.step, message.encoding)
    return image_from_raw(message.data, *layout, bool(message.is_bigendian)).rgb()
