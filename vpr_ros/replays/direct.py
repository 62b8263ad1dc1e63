"""A recorded drive through the chain, image by image, in this process and without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from time import perf_counter

from tqdm import tqdm

from vpr_ros.drives.recording import Frame, OdometryMessage, Recording, decoded
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.localiser import Localiser
from vpr_ros.odometry import Odometry
from vpr_ros.replays.answers import FrameAnswer, Judge
from vpr_ros.replays.replayed import Replayed
from vpr_ros.threads.ahead import ahead

#: Messages taken from the recording, and images decoded, before they are asked for.
AHEAD = 4


def replay_direct(recording: Recording, judge: Judge, localiser: Localiser) -> Replayed:
    """Localise every frame in the order of recording, each with its own stamp.

    The answers depend on the recording, the weights and the map alone; how long each took does not.
    """
    localiser.reset()
    final: list[FrameAnswer] = []
    single: list[FrameAnswer] = []
    odometry = Odometry()
    with (
        closing(
            ahead(lambda each: decoded(each[0]), _with_motions(recording), threads=1, depth=AHEAD)
        ) as frames,
        tqdm(total=recording.count, desc="replay", unit="frame", disable=None) as progress,
    ):
        for (frame, motions), image in frames:
            for motion in motions:
                odometry.add(motion.stamp, motion.pose)
            of_frame = _judged(frame, image, odometry, judge, localiser)
            final.append(of_frame[0])
            single += of_frame[1:]
            progress.update()
    return Replayed(final, single if localiser.filters else None, localiser.filters, localiser.threshold)


def _with_motions(recording: Recording) -> Iterator[tuple[Frame, list[OdometryMessage]]]:
    """Yield each frame with the odometry recorded since the one before it, as the node would have it."""
    motions: list[OdometryMessage] = []
    for message in recording.messages():
        if isinstance(message, OdometryMessage):
            motions.append(message)
        else:
            yield message, motions
            motions = []


def _judged(
    frame: Frame, image: Image | str, odometry: Odometry, judge: Judge, localiser: Localiser
) -> list[FrameAnswer]:
    """Return the final answer and, where the localiser filters over time, that of the image alone."""
    reason, started = "", perf_counter()
    if isinstance(image, str):
        reason = image
    else:
        try:
            answer = localiser.localise(CameraImage(image), frame.stamp, odometry.at(frame.stamp))
        except InputError as error:
            reason = first_line(error)
    latency = perf_counter() - started
    if reason:
        refused = judge.unanswered(frame.stamp, frame.row, reason)
        return [refused, refused] if localiser.filters else [refused]
    told = [(answer.hypotheses, answer.accepted is not None)]
    if answer.filtered is not None:
        told.append((answer.single, localiser.accepts(answer.single, filtered=False) is not None))
    return [
        judge.answered(frame.stamp, frame.row, hypotheses.points(), accepted, latency, answer.seconds)
        for hypotheses, accepted in told
    ]
