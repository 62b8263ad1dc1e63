"""Bags with poses in a metric frame instead of GPS: Odometry, PoseStamped, PoseWithCovarianceStamped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.bag import read_bag
from vpr_ros.drives.bag_file import ODOMETRY, BagFile, choose_topic, header_stamp
from vpr_ros.drives.datasets.local_frame import LocalFrame
from vpr_ros.drives.track import Track
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.odometry import Pose

POSE, POSE_COVARIANCE = "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped"


def read_pose_bag(
    path: Path,
    datum: Datum,
    heading: float = 90.0,
    poses: str | None = None,
    image_topic: str | None = None,
    max_fix_gap: float = 2.0,
    spacing: float = 1.0,
) -> GeotaggedImages:
    """Read a drive geotagged by its poses; what lies between the camera and what they are of is not known.

    Args:
        path: of the bag.
        datum: where the origin of the poses' frame lies.
        heading: of its x axis, degrees clockwise from north.
        poses: topic; found where there is only one.
        image_topic: as for `vpr_ros.bag.read_bag`.
        max_fix_gap: seconds between two poses above which images between them are left out.
        spacing: as for `vpr_ros.bag.read_bag`.
    """
    bag = BagFile(path)
    topic = choose_topic(bag, (ODOMETRY, POSE, POSE_COVARIANCE), poses, "poses=/TOPIC before the bag's name")
    found: dict[int, tuple[float, float, float, float]] = {}
    for recorded in bag.messages({topic}):
        message = bag.deserialize(recorded)
        pose: Any = message.pose if recorded.type == POSE else message.pose.pose
        position, turned = pose.position, pose.orientation
        flat = Pose.of(float(position.x), float(position.y), (turned.x, turned.y, turned.z, turned.w))
        if flat is not None and math.isfinite(position.z):
            found[header_stamp(message, recorded)] = (flat.x, flat.y, float(position.z), flat.yaw)
    if not found:
        raise InputError(f"{path}: no finite pose on {topic}")
    stamps = np.array(sorted(found), np.int64)
    points = np.array([found[stamp] for stamp in stamps.tolist()])
    frame = LocalFrame(datum, heading)
    track = Track(stamps, frame.positions(points[:, :3]), frame.headings(points[:, 3]), f"poses on {topic}")
    return read_bag(path, image_topic, None, max_fix_gap, spacing, track)
