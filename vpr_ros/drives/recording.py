"""A recorded drive as replay takes it: every camera message, in order, as pixels or as it was recorded."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from vpr_ros.bag import read_bag
from vpr_ros.drives.bag_file import (
    COMPRESSED,
    FIX,
    ODOMETRY,
    RAW,
    BagFile,
    Recorded,
    choose_topic,
    header_stamp,
    reference,
    rgb,
)
from vpr_ros.drives.bag_writer import compressed_image
from vpr_ros.drives.track import geotag
from vpr_ros.drives.truth import read_truth
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import GeotaggedImages, Image
from vpr_ros.images.pixels import compress
from vpr_ros.odometry import Pose
from vpr_ros.sources import parse_source, read_sources

logger = logging.getLogger(__name__)

#: Nanoseconds: the end of ROS time, in 2038.
END_OF_TIME = 2**31 * 10**9
#: How the files begin that a CompressedImage holds.
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"


@dataclass(frozen=True)
class Frame:
    """One camera message.

    Attributes:
        row: of the table of geotagged images; None where nothing is known of where it was taken.
        stamp: of its header, nanoseconds; no two frames of a recording have the same.
        time: when it was recorded, nanoseconds; never falls.
        image: returns its (H, W, 3) RGB; raises InputError where it does not decode.
        cdr: returns the message in ROS 2's serialisation; raises InputError where it is none.
    """

    row: int | None
    stamp: int
    time: int
    image: Callable[[], Image]
    cdr: Callable[[], bytes]


def decoded(frame: Frame) -> Image | str:
    """Return a frame's (H, W, 3) RGB, or why there is none: nothing about one frame ends a drive."""
    try:
        return frame.image()
    except (InputError, OSError) as error:
        return first_line(error)
    except Exception as error:  # a damaged image raises whatever its parser stumbles over
        return f"{type(error).__name__}: {first_line(error)}"


@dataclass(frozen=True)
class OdometryMessage:
    """One odometry message.

    Attributes:
        stamp: of its header, nanoseconds.
        time: when it was recorded, nanoseconds.
        pose: of the robot in the odometry's frame.
        cdr: returns the message in ROS 2's serialisation.
    """

    stamp: int
    time: int
    pose: Pose
    cdr: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class Recording:
    """A drive that can be replayed.

    Attributes:
        images: the frames of which it is known where they were taken, with these geotags.
        compressed: whether its messages are CompressedImage, else Image.
        odometry: whether there is odometry between the frames.
        count: how many frames there are.
        messages: returns an iterator over all frames, and the odometry between them, as recorded.
    """

    images: GeotaggedImages
    compressed: bool
    odometry: bool
    count: int
    messages: Callable[[], Iterator[Frame | OdometryMessage]]

    def frames(self) -> Iterator[Frame]:
        """Return an iterator over the frames alone."""
        return (message for message in self.messages() if isinstance(message, Frame))


def open_recording(
    path: Path,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    frame_rate: float = 5.0,
    truth: Path | None = None,
    odometry_topic: str | None = None,
    max_fix_gap: float = 2.0,
) -> Recording:
    """Open a bag, or what `vpr_ros.sources.parse_source` takes besides, for replay.

    Args:
        path: of the bag, folder or data set.
        session: of a folder: only its images.
        rows: of a folder: only these images, start:stop:step.
        image_topic: of a bag with more than one image topic.
        fix_topic: of a bag with more than one NavSatFix topic; the truth.
        frame_rate: images a second of a folder that has no rising time stamps.
        truth: csv file that says where the drive went, instead of the bag's fixes or the folder's geotags.
        odometry_topic: of a bag: its Odometry is replayed too.
        max_fix_gap: seconds between two fixes, or lines of `truth`, above which images between them are
            not judged.
    """
    source = parse_source(path)
    if source.format != "bag" or source.options:
        if odometry_topic is not None:
            raise InputError(f"{path}: no bag, so there is no odometry on '{odometry_topic}'")
        images = read_sources(path, session, rows, image_topic, fix_topic, max_fix_gap)
        return _open_table(path, images, frame_rate, truth, max_fix_gap)
    if session is not None or rows is not None:
        raise InputError(f"{path}: a bag is replayed whole: --session and --rows are of folders of images")
    path = source.path
    bag = BagFile(path)
    topic = choose_topic(bag, (RAW, COMPRESSED), image_topic, "--image-topic")
    if odometry_topic is not None:
        odometry_topic = choose_topic(bag, (ODOMETRY,), odometry_topic, "--odometry-topic")
    if truth is None and fix_topic is None and FIX not in bag.topics.values():
        raise InputError(f"{path}: no {FIX} in it to compare with: name a csv file with --truth")
    track = None if truth is None else read_truth(truth)
    images = read_bag(path, topic, fix_topic, max_fix_gap, 0.0, track, pass_over_torn=True)
    return Recording(
        images,
        bag.topics[topic] == COMPRESSED,
        odometry_topic is not None,
        bag.counts[topic],
        lambda: _bag_messages(bag, topic, odometry_topic, images),
    )


def _bag_messages(
    bag: BagFile, topic: str, odometry_topic: str | None, images: GeotaggedImages
) -> Iterator[Frame | OdometryMessage]:
    row_of = {name: row for row, name in enumerate(images.rows["image"].tolist())}
    stamps: set[int] = set()
    topics = {topic} if odometry_topic is None else {topic, odometry_topic}
    for recorded in bag.messages(topics):
        if recorded.topic == odometry_topic:
            yield from _motion(bag, recorded)
            continue
        frame = _bag_frame(bag, recorded)
        stamp = frame.stamp
        while stamp in stamps:  # answers are told apart by their stamps
            stamp += 1
        stamps.add(stamp)
        name = reference(bag.path, topic, recorded.time, recorded.repeat)
        yield replace(frame, row=row_of.get(name), stamp=stamp, cdr=_stamped(frame.cdr, stamp))


def _bag_frame(bag: BagFile, recorded: Recorded) -> Frame:
    try:
        message = bag.deserialize(recorded)
    except InputError:
        torn = _refusing(f"the message does not deserialise as {recorded.type}")
        return Frame(None, recorded.time, recorded.time, torn, torn)
    return Frame(
        None,
        header_stamp(message, recorded),
        recorded.time,
        lambda: rgb(message, recorded.type),
        lambda: bag.cdr(recorded),
    )


def _refusing(reason: str) -> Callable[[], NoReturn]:
    def refuse() -> NoReturn:
        raise InputError(reason)

    return refuse


def _motion(bag: BagFile, recorded: Recorded) -> Iterator[OdometryMessage]:
    """Yield the odometry of a message, or nothing where there is none."""
    try:
        message = bag.deserialize(recorded)
    except InputError as error:
        logger.warning("left out: %s", error)
        return
    position, turned = message.pose.pose.position, message.pose.pose.orientation
    pose = Pose.of(float(position.x), float(position.y), (turned.x, turned.y, turned.z, turned.w))
    if pose is None:
        logger.warning("left out: %s: %s at %d ns: not finite", bag.path, recorded.topic, recorded.time)
        return
    yield OdometryMessage(header_stamp(message, recorded), recorded.time, pose, lambda: bag.cdr(recorded))


def _stamped(cdr: Callable[[], bytes], stamp: int) -> Callable[[], bytes]:
    """Return the message in CDR with another stamp; its header follows four bytes of encapsulation."""

    def stamped() -> bytes:
        data = cdr()
        order = "<" if data[1] & 1 else ">"
        try:
            return data[:4] + struct.pack(f"{order}iI", *divmod(stamp, 10**9)) + data[12:]
        except struct.error as error:
            raise InputError(f"the stamp {stamp} ns is not one of ROS time") from error

    return stamped


def _open_table(
    folder: Path, images: GeotaggedImages, frame_rate: float, truth: Path | None, max_gap: float
) -> Recording:
    stamps = images.rows["stamp"]
    numbers: NDArray[np.intp] = np.arange(len(images))
    if truth is not None:
        if (np.diff(stamps) <= 0).any():
            raise InputError(f"{folder}: no rising time stamps to compare with {truth}: add the column stamp")
        geotags = geotag(stamps, read_truth(truth), max_gap, folder)
        numbers = geotags.known
        known = images.select(numbers)
        known.rows["latitude"], known.rows["longitude"], known.rows["altitude"] = geotags.positions.T
        known.rows["heading"] = geotags.headings
    else:
        known = images
    row_of = {number: row for row, number in enumerate(numbers.tolist())}
    return Recording(
        known, True, False, len(images), lambda: _folder_frames(folder, images, row_of, frame_rate)
    )


def _folder_frames(
    folder: Path, images: GeotaggedImages, row_of: dict[int, int], frame_rate: float
) -> Iterator[Frame]:
    stamps = _camera_stamps(images.rows["stamp"], frame_rate, folder)
    for number, stamp in enumerate(stamps.tolist()):
        yield _folder_frame(images, number, row_of.get(number), stamp)


def _folder_frame(images: GeotaggedImages, number: int, row: int | None, stamp: int) -> Frame:
    def cdr() -> bytes:
        undecoded = images.undecoded(number)
        data = b"" if undecoded.data is None else bytes(undecoded.data)
        if not data.startswith((_JPEG, _PNG)):
            data = compress(undecoded.rgb(), ".png")
        return compressed_image(stamp, data, "jpeg" if data.startswith(_JPEG) else "png")

    return Frame(row, stamp, stamp, lambda: images.read(number), cdr)


def _camera_stamps(stamps: NDArray[np.int64], frame_rate: float, folder: Path) -> NDArray[np.int64]:
    """Return the stamps where they rise within ROS time, else those of a camera of that rate."""
    steps = np.diff(stamps)
    if (
        stamps[0] >= 0
        and stamps[-1] < END_OF_TIME
        and (steps >= 0).all()
        and 2 * (steps == 0).sum() <= len(steps)
    ):
        # a phone's second may hold two photographs: of those with one stamp each is a nanosecond later
        first = np.searchsorted(stamps, stamps)
        stamps = stamps + np.arange(len(stamps)) - first
        # zero is what a driver writes that stamps nothing
        return stamps if stamps[0] > 0 else stamps + 10**9
    logger.warning("%s: no rising time stamps: replayed as %g images a second", folder, frame_rate)
    return 10**9 + (np.arange(len(stamps)) * (10**9 / frame_rate)).astype(np.int64)
