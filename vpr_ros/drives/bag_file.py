"""An open bag: its topics, its messages as they were recorded, and what is in them."""

from __future__ import annotations

import heapq
import logging
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from vpr_ros.drives.cut_mcap import read_cut_mcap
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import Image
from vpr_ros.images.pixels import image_from_compressed, image_from_raw

logger = logging.getLogger(__name__)

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
FIX = "sensor_msgs/msg/NavSatFix"
ODOMETRY = "nav_msgs/msg/Odometry"
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


def rgb(message: Any, kind: str) -> Image:
    """Return (H, W, 3) RGB of a deserialised image message of that type; raises InputError."""
    if kind == COMPRESSED:
        return image_from_compressed(message.data).rgb()
    layout = (message.height, message.width, message.step, message.encoding)
    return image_from_raw(message.data, *layout, bool(message.is_bigendian)).rgb()
