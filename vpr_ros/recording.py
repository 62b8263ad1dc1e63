"""A recorded drive as the camera messages that replay sends: in ROS 2's serialisation, in order."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.bag import COMPRESSED, RAW, BagFile, choose_topic, header_stamp, is_bag, reference
from vpr_ros.bag_writer import compressed_image
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.pixels import compress
from vpr_ros.sources import read_sources

#: Nanoseconds: the end of ROS time, in 2038, and the longest step between two images of one drive.
END_OF_TIME, MAX_STEP = 2**31 * 10**9, 10**9


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
    last = 0
    for recorded in bag.messages({topic}):
        # answers are told apart by their stamps: none may be zero, or be there twice
        stamp = max(header_stamp(bag.deserialize(recorded), recorded), last + 1)
        last = stamp
        name = reference(bag.path, topic, recorded.time, recorded.repeat)
        yield Frame(row_of.get(name), stamp, _stamped(bag.cdr(recorded), stamp))


def _stamped(data: bytes, stamp: int) -> bytes:
    """Return a message in CDR with another stamp; its header follows four bytes of encapsulation."""
    order = "<" if data[1] & 1 else ">"
    return data[:4] + struct.pack(f"{order}iI", *divmod(stamp, 10**9)) + data[12:]


def _folder_frames(folder: Path, images: GeotaggedImages, frame_rate: float) -> Iterator[Frame]:
    stamps = images.rows["stamp"]
    steps = np.diff(stamps)
    # photographs taken minutes apart, or at no known time, are sent as a camera would send them
    if not (stamps[0] > 0 and stamps[-1] < END_OF_TIME) or (steps <= 0).any() or (steps > MAX_STEP).any():
        stamps = 10**9 + (np.arange(len(images)) * (10**9 / frame_rate)).astype(np.int64)
    for row, stamp in enumerate(stamps.tolist()):
        file = folder / str(images.rows["image"][row])
        suffix = file.suffix.lower()
        if suffix in (".jpg", ".jpeg", ".png"):
            data = file.read_bytes()
        else:
            data, suffix = compress(images.read(row), ".png"), ".png"
        yield Frame(row, stamp, compressed_image(stamp, data, "png" if suffix == ".png" else "jpeg"))
