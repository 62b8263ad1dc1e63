"""Learn from one more drive how far a map's answers can be believed.

python training/calibrate.py --data DRIVE --map MAP
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.learning import calibration_fit as fit
from training.learning.calibration_fit import TRIALS, Drive
from vpr_ros.calibration import NEVER, Acceptance, Calibration, write_calibration
from vpr_ros.command import run
from vpr_ros.drives.recording import Frame, Recording, decoded, open_recording
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_enu
from vpr_ros.geotagged import Image
from vpr_ros.hypotheses import Belief, Hypothesis, agree
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.odometry import Odometry
from vpr_ros.open_engine import AnyEngine, open_engine
from vpr_ros.place_map import PlaceMap, open_map
from vpr_ros.sequence_filter import Dynamics
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

#: Frames with a truth below which nothing is learnt.
FEWEST = 10
#: Images decoded before they are asked for.
AHEAD = 4


def calibrate(
    data: Path,
    map: Path,  # noqa: A002  the option is called --map
    weights: Path = DEFAULT_WEIGHTS,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    truth: Path | None = None,
    odometry_topic: str | None = None,
    frame_rate: float = 5.0,
    radius: float = 25.0,
    view_std: float = Belief.view_std,
    max_speed: float = Dynamics.max_speed,
    k: int = 20,
    device: str = "auto",
) -> Calibration:
    """Fit a map's probabilities, covariances and sequence filter to a drive, and store them with the map.

    The drive is another one than the map's, and another one than those that the result is judged by: at the
    hours, and with the unmapped stretches, that are to be expected.

    Args:
        data: Bag, or folder of images, with geotags.
        map: Folder of the map; the calibration is written into it, in place of one that is there.
        weights: Weights file, or ONNX model, that the map was built with.
        session: Of a folder: only its images.
        rows: Of a folder: only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic; the truth.
        truth: Csv file with the true track (stamp, latitude, longitude), instead of the drive's geotags.
        odometry_topic: Of a bag: its Odometry, where the node will have one too.
        frame_rate: Images a second of a folder without rising time stamps.
        radius: Metres within which an answer is right, and within which places support each other.
        view_std: Metres, standard deviation, by which places are recognised from beside where they were
            taken: the shape of the covariance, whose scale is fitted.
        max_speed: Metres a second that the robot drives at most, for the filter without odometry.
        k: Places retrieved for each image.
        device: auto, cuda or cpu.
    """
    if k < 1:
        raise InputError(f"--k {k}: expected at least 1")
    belief = Belief(cluster_radius=radius, view_std=view_std)
    dynamics = Dynamics(max_speed=max_speed)
    engine = open_engine(weights, device)
    place_map = open_map(map, engine.fingerprint)
    recording = open_recording(data, session, rows, image_topic, fix_topic, frame_rate, truth, odometry_topic)
    drive = encode_drive(recording, engine, place_map, k)
    with tqdm(total=TRIALS, desc="calibrating", unit="trial") as progress:
        calibration = fit_calibration(drive, place_map, belief, dynamics, str(data), progress.update)
    file = write_calibration(calibration, place_map)
    print(told(calibration))
    print(f"written to {file}")
    return calibration


def encode_drive(recording: Recording, engine: AnyEngine, place_map: PlaceMap, k: int) -> Drive:
    """Return a recording in descriptors; images that cannot be encoded are left out, and counted."""
    descriptors: list[NDArray[np.float32]] = []
    stamps: list[int] = []
    rows: list[int] = []
    refused: list[str] = []
    odometry = Odometry(kept=None)
    with (
        closing(ahead(decoded, _frames(recording, odometry), threads=1, depth=AHEAD)) as frames,
        tqdm(total=recording.count, desc="encoding", unit="image") as progress,
    ):
        for frame, image in frames:
            progress.update()
            try:
                descriptors.append(_descriptor(image, engine))
            except InputError as error:
                refused.append(str(error))
                continue
            stamps.append(frame.stamp)
            rows.append(-1 if frame.row is None else frame.row)
    if refused:
        logger.warning("%d of %d images left out, the first: %s", len(refused), recording.count, refused[0])
    row = np.array(rows, np.int64)
    known = row >= 0
    if known.sum() < FEWEST:
        raise InputError(
            f"{known.sum()} images whose position is known: expected at least {FEWEST}, better hundreds"
        )
    table = recording.images.rows[row[known]]
    truth = np.full((len(row), 2), np.nan)
    heading = np.full(len(row), np.nan)
    heading[known] = table["heading"]
    truth[known] = to_enu(table["latitude"], table["longitude"], table["altitude"], place_map.datum)[:, :2]
    array = np.stack(descriptors)
    _, retrieved = place_map.search(array, k)
    poses = [odometry.at(stamp) for stamp in stamps]
    return Drive(np.array(stamps, np.int64), array, poses, truth, heading, retrieved)


def _frames(recording: Recording, odometry: Odometry) -> Iterator[Frame]:
    """Yield the frames, and add to the odometry what lies between them."""
    for message in recording.messages():
        if isinstance(message, Frame):
            yield message
        else:
            odometry.add(message.stamp, message.pose)


def _descriptor(image: Image | str, engine: AnyEngine) -> NDArray[np.float32]:
    """Return the (P,) descriptor of an image; raises InputError where there is none."""
    if isinstance(image, str):
        raise InputError(image)
    return engine.encode_one(CameraImage(image))


def fit_calibration(
    drive: Drive,
    place_map: PlaceMap,
    belief: Belief,
    dynamics: Dynamics,
    name: str,
    tell: Callable[[], object],
) -> Calibration:
    """Return the calibration that fits the drive of that name, beginning from this belief and dynamics.

    Answers within the belief's cluster radius are right. `tell` is called TRIALS times, about.
    """
    known, radius = drive.known, belief.cluster_radius
    truth = drive.truth[known]
    belief = fit.fit_belief(drive, place_map, replace(belief, covariance_scale=1.0), radius)
    dynamics = fit.fit_likelihood(drive, place_map, dynamics, radius)
    dynamics = fit.fit_dynamics(drive, place_map, belief, dynamics, radius, tell)

    every_single = fit.single_answers(drive, place_map, belief)
    every_filtered = fit.filtered_answers(drive, place_map, belief, dynamics, every_single)
    single = [every_single[number].ranked[0] for number in known]
    filtered = [every_filtered[number] for number in known]
    agreed = np.array([agree(each, alone, belief) for each, alone in zip(filtered, single, strict=True)])
    single_right, filtered_right = (fit.is_right(answers, truth, radius) for answers in (single, filtered))
    right = np.append(single_right, filtered_right)
    if not right.any():
        raise InputError(
            f"{name}: none of {len(known)} answers lies within {radius:g} m of the truth: is it this area?"
        )
    # covariances are of what is published; where that is too little to tell, of all that is right
    published = np.append(np.zeros(len(known), bool), agreed & filtered_right)
    chosen = np.flatnonzero(published if published.sum() >= FEWEST else right)
    every = single + filtered
    answers = [every[number] for number in chosen]
    errors = fit.offsets(answers, np.concatenate([truth, truth])[chosen])
    heading = np.concatenate([drive.heading[known]] * 2)[chosen]
    scale = fit.fit_covariance(answers, errors, place_map.geotag_std, belief.covariance_scale)
    yaw_std = fit.fit_yaw(answers, heading, belief.yaw_std)
    return Calibration(
        belief=replace(belief, covariance_scale=scale, yaw_std=yaw_std),
        dynamics=dynamics,
        single=_acceptance(single, single_right),
        # the localiser accepts no others
        filtered=_acceptance([filtered[number] for number in np.flatnonzero(agreed)], filtered_right[agreed]),
        drive=name,
        frames=len(known),
        radius=radius,
    )


def _acceptance(answers: list[Hypothesis], right: NDArray[np.bool_]) -> Acceptance:
    return Acceptance.of([answer.probability for answer in answers], right)


def told(calibration: Calibration) -> str:
    """Return what was found, in lines to print."""
    belief, dynamics = calibration.belief, calibration.dynamics
    lines = [
        f"{calibration.frames} frames of {calibration.drive}, right within {calibration.radius:g} m",
        f"temperature {belief.temperature:.3g}, none_margin {belief.none_margin:.3g}, covariance_scale "
        f"{belief.covariance_scale:.3g}, yaw_std {belief.yaw_std:.3g} rad",
        f"look {dynamics.look:.3g} s, sharpness {dynamics.sharpness:.3g}, "
        f"lost_score {dynamics.lost_score:.3g}",
    ]
    for name, acceptance in (("image alone", calibration.single), ("filtered", calibration.filtered)):
        lines += [f"{name}, precision {wanted}: {_accepted(acceptance, wanted)}" for wanted in (0.95, 0.99)]
    return "\n".join(lines)


def _accepted(acceptance: Acceptance, precision: float) -> str:
    threshold = acceptance.threshold(precision)
    if threshold == NEVER:
        return "no threshold promises that: too few right answers in a row"
    step = next(step for step in acceptance.steps if step.above == threshold)
    return f"accepted above {threshold:.4f}: {step.accepted} frames, {step.wrong} of them wrong"


if __name__ == "__main__":
    run(calibrate, positional=("data",))
