"""Drives out: images and fixes written as a rosbag2 bag (MCAP)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vpr_ros.drives.bag_file import COMPRESSED, FIX

_TYPES = get_typestore(Stores.ROS2_JAZZY)


class DriveWriter:
    """Writes a CompressedImage topic and NavSatFix topics; use it as a context.

    Args:
        folder: of the bag; must not exist.
        image_topic: ends in /compressed by custom.
        fix_topics: each a receiver of its own.
        frame_id: of all.
    """

    def __init__(
        self,
        folder: Path,
        image_topic: str = "/camera/image/compressed",
        fix_topics: Sequence[str] = ("/gps/fix",),
        frame_id: str = "camera",
    ) -> None:
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._topics = {image_topic: COMPRESSED} | dict.fromkeys(fix_topics, FIX)
        self._image_topic = image_topic
        self._frame_id = frame_id

    def __enter__(self) -> DriveWriter:
        self._writer.open()
        self._connections = {
            topic: self._writer.add_connection(topic, kind, typestore=_TYPES)
            for topic, kind in self._topics.items()
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def image(self, stamp: int, data: bytes, form: str = "jpeg") -> None:
        """Append an image file's bytes, stamped in nanoseconds."""
        message = compressed_image(stamp, data, form, self._frame_id)
        self._writer.write(self._connections[self._image_topic], stamp, message)

    def fix(self, topic: str, stamp: int, position: ArrayLike, std: float, status: int = 0) -> None:
        """Append a fix.

        Args:
            topic: one of the fix topics.
            stamp: nanoseconds.
            position: WGS84 latitude, longitude (degrees), altitude (m).
            std: metres, of each axis.
            status: of NavSatStatus; -1 is no fix.
        """
        latitude, longitude, altitude = (float(value) for value in np.asarray(position))
        message = _TYPES.types[FIX](
            header=_header(stamp, self._frame_id),
            status=_TYPES.types["sensor_msgs/msg/NavSatStatus"](status=status, service=1),
            latitude=latitude,
            longitude=longitude,
            altitude=altitude,
            position_covariance=np.diag([std**2, std**2, std**2]).ravel(),
            position_covariance_type=2,  # COVARIANCE_TYPE_DIAGONAL_KNOWN
        )
        self._writer.write(self._connections[topic], stamp, _TYPES.serialize_cdr(message, FIX))


def compressed_image(stamp: int, data: bytes, form: str, frame_id: str = "camera") -> bytes:
    """Return a CompressedImage in CDR: an image file's bytes, stamped in nanoseconds."""
    header = _header(stamp, frame_id)
    message = _TYPES.types[COMPRESSED](header=header, format=form, data=np.frombuffer(data, np.uint8))
    return bytes(_TYPES.serialize_cdr(message, COMPRESSED))


def _header(stamp: int, frame_id: str) -> Any:
    time = _TYPES.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return _TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)
