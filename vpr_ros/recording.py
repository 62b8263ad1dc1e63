"""A recorded drive as the camera messages that replay sends: in ROS 2's serialisation, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from vpr_ros.bag import COMPRESSED, RAW, BagFile, choose_topic, header_stamp, is_bag, reference
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.pixels import compress
from vpr_ros.sources import read_sources


@dataclass(frozen=True)
class Frame:
    """One camera message.

    Attributes:
        row: of the table of geotagged images; None where the drive has no geotag for it.
        stamp: of its header, nanoseconds.
        data: the message in CDR.
    """

    row: int | None
    stamp: int
    data: bytes


@dataclass(frozen=True, eq=False)
class Recording:
    """A drive that can be replayed.

    Attributes:
        images: the same frames with their true geotags.
        compressed: whether its messages are CompressedImage, else Image.
        frames: returns an iterator over all frames, in the order of recording.
    """

    images: GeotaggedImages
    compressed: bool
    frames: Callable[[], Iterator[Frame]]


def open_recording(
    path: Path,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    frame_rate: float = 5.0,
) -> Recording:
    """Open a bag or a folder of images for replay.

    Args:
        path: of the bag or folder.
        session: of a folder: only its images.
        rows: of a folder: only these images, start:stop:step.
        image_topic: of a bag with more than one image topic.
        fix_topic: of a bag with more than one NavSatFix topic; the truth.
        frame_rate: images a second of a folder that has no rising time stamps.
    """
    images = read_sources(path, session, rows, image_topic, fix_topic, spacing=0.0)
    if not is_bag(path):
        return Recording(images, True, lambda: _folder_frames(path, images, frame_rate))
    bag = BagFile(path)
    topic = choose_topic(bag, (RAW, COMPRESSED), image_topic, "--image-topic")
    return Recording(images, bag.topics[topic] == COMPRESSED, lambda: _bag_frames(bag, topic, images))


def _bag_frames(bag: BagFile, topic: str, images: GeotaggedImages) -> Iterator[Frame]:
    row_of = {name: row for row, name in enumerate(images.rows["image"].tolist())}
    for recorded in bag.messages({topic}):
        stamp = header_stamp(bag.deserialize(recorded), recorded)
        name = reference(bag.path, topic, recorded.time, recorded.repeat)
        yield Frame(row_of.get(name), stamp, bag.cdr(recorded))


def _folder_frames(folder: Path, images: GeotaggedImages, frame_rate: float) -> Iterator[Frame]:
    stamps = images.rows["stamp"]
    if stamps[0] <= 0 or (np.diff(stamps) <= 0).any():
        stamps = 10**9 + (np.arange(len(images)) * (10**9 / frame_rate)).astype(np.int64)
    for row, stamp in enumerate(stamps.tolist()):
        file = folder / str(images.rows["image"][row])
        known = file.suffix.lower() in (".jpg", ".jpeg", ".png")
        data = file.read_bytes() if known else compress(images.read(row), ".png")
        form = "jpeg" if file.suffix.lower() in (".jpg", ".jpeg") else "png"
        yield Frame(row, stamp, _compressed_image(stamp, form, data))


def _compressed_image(stamp: int, form: str, data: bytes) -> bytes:
    types = get_typestore(Stores.ROS2_JAZZY)
    time = types.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    header = types.types["std_msgs/msg/Header"](stamp=time, frame_id="camera")
    message = types.types[COMPRESSED](header=header, format=form, data=np.frombuffer(data, np.uint8))
    return bytes(types.serialize_cdr(message, COMPRESSED))
