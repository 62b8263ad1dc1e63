"""ROS messages to and from arrays and hypotheses. The message packages are needed here; rclpy is not."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, PoseArray, PoseWithCovarianceStamped, Quaternion
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import (
    CompressedImage,
    NavSatFix,
    NavSatStatus,
    PointCloud2,
    PointField,
)
from sensor_msgs.msg import (
    Image as ImageMessage,
)
from std_msgs.msg import Header

from vpr_ros.engines.gpu_jpeg import GpuImage, JpegDecoder
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.hypotheses import POINT, Hypotheses, Hypothesis
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.images.pixels import (
    MAX_PIXELS,
    UnknownEncodingError,
    check_pixels,
    compress,
    image_from_compressed,
    image_from_raw,
)
from vpr_ros.odometry import Pose as OdometryPose
from vpr_ros.prior import Prior

#: Variance, rad^2, of an angle that an image match says nothing about: finite, as filters demand.
UNKNOWN_ANGLE = math.pi**2

_FIELD_TYPES = {"<f4": PointField.FLOAT32, "<f8": PointField.FLOAT64, "<u4": PointField.UINT32}
_FIELDS = [
    PointField(name=name, offset=offset, datatype=_FIELD_TYPES[kind.str], count=1)
    for name, (kind, offset, *_) in (POINT.fields or {}).items()
]


def image_from_message(message: ImageMessage, max_pixels: int = MAX_PIXELS) -> CameraImage:
    """Return what an Image message shows: common encodings viewed in place, the rest through cv_bridge.

    Raises InputError for a wrong step, a short buffer, an encoding that is not of a picture, or more pixels.
    """
    check_pixels(message.height, message.width, max_pixels)
    layout = (message.height, message.width, message.step, message.encoding, bool(message.is_bigendian))
    try:
        return image_from_raw(message.data, *layout)
    except UnknownEncodingError as error:
        return CameraImage(_through_cv_bridge(message, error))


def _through_cv_bridge(message: ImageMessage, unknown: UnknownEncodingError) -> Image:
    # imported here: few cameras need it, and not every installation has it
    try:
        from cv_bridge import CvBridge  # noqa: PLC0415
    except ImportError:
        raise unknown from None
    try:
        converted = CvBridge().imgmsg_to_cv2(message, "rgb8")
    except Exception as error:  # the C++ and the Python cv_bridge each raise their own
        name = type(error).__name__
        raise InputError(f"encoding {message.encoding[:40]!r} does not convert to RGB ({name})") from error
    if converted.ndim != 3 or converted.shape[2] != 3 or converted.dtype != np.uint8:
        raise InputError(f"encoding {message.encoding[:40]!r} converts to {converted.shape}, not to RGB")
    return np.asarray(converted, np.uint8)


def image_from_compressed_message(
    message: CompressedImage, max_pixels: int = MAX_PIXELS, decoder: JpegDecoder | None = None
) -> CameraImage | GpuImage:
    """Return what a CompressedImage message shows."""
    return image_from_compressed(message.data, max_pixels, decoder)


def compressed_from_rgb(image: Image, header: Header) -> CompressedImage:
    """Return the RGB image as JPEG."""
    return CompressedImage(header=header, format="jpeg", data=compress(image))


def stamp_to_ns(stamp: Any) -> int:
    """Return a builtin_interfaces/Time as nanoseconds."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def pose_from_odometry(message: Odometry) -> OdometryPose | None:
    """Return where odometry says that the robot is, or None where that is not finite."""
    position, turned = message.pose.pose.position, message.pose.pose.orientation
    return OdometryPose.of(position.x, position.y, (turned.x, turned.y, turned.z, turned.w))


def prior_from_fix(message: NavSatFix, now: int) -> Prior:
    """Return a fix as a prior; of one without a stamp, it is `now` (ns).

    Raises InputError where it is no fix, or not said how good it is.
    """
    if message.status.status < NavSatStatus.STATUS_FIX:
        raise InputError(f"status {message.status.status}: expected a fix")
    if message.position_covariance_type == NavSatFix.COVARIANCE_TYPE_UNKNOWN:
        raise InputError("position_covariance_type is unknown: expected one that tells how good the fix is")
    covariance = np.array(message.position_covariance).reshape(3, 3)
    return Prior(
        latitude=message.latitude,
        longitude=message.longitude,
        var_east=float(covariance[0, 0]),
        cov_east_north=float(covariance[0, 1] + covariance[1, 0]) / 2,
        var_north=float(covariance[1, 1]),
        stamp=stamp_to_ns(message.header.stamp) or now,
    )


def fix_from_hypothesis(hypothesis: Hypothesis, header: Header, calibrated: bool) -> NavSatFix:
    """Return the hypothesis as a fix; its altitude is always finite, which navsat_transform needs."""
    latitude, longitude, altitude = (float(value) for value in hypothesis.geodetic)
    return NavSatFix(
        header=header,
        status=NavSatStatus(status=NavSatStatus.STATUS_FIX, service=0),
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        position_covariance=hypothesis.covariance.ravel(),
        position_covariance_type=(
            NavSatFix.COVARIANCE_TYPE_KNOWN if calibrated else NavSatFix.COVARIANCE_TYPE_APPROXIMATED
        ),
    )


def pose_from_hypothesis(hypothesis: Hypothesis, header: Header) -> PoseWithCovarianceStamped:
    """Return the hypothesis as a pose in the map frame; a yaw that is not known has a wide variance."""
    message = PoseWithCovarianceStamped(header=header)
    message.pose.pose = _pose(hypothesis)
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = hypothesis.covariance
    covariance[3, 3] = covariance[4, 4] = covariance[5, 5] = UNKNOWN_ANGLE
    if not math.isnan(hypothesis.yaw_variance):
        covariance[5, 5] = min(hypothesis.yaw_variance, UNKNOWN_ANGLE)
    message.pose.covariance = covariance.ravel()
    return message


def poses_from_hypotheses(hypotheses: Hypotheses, header: Header) -> PoseArray:
    """Return all hypotheses, ranked, as poses for RViz."""
    return PoseArray(header=header, poses=[_pose(hypothesis) for hypothesis in hypotheses.ranked])


def _pose(hypothesis: Hypothesis) -> Pose:
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = (float(value) for value in hypothesis.enu)
    yaw = 0.0 if math.isnan(hypothesis.yaw) else hypothesis.yaw
    pose.orientation = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return pose


def cloud_from_hypotheses(hypotheses: Hypotheses, header: Header) -> PointCloud2:
    """Return all hypotheses, ranked, as points with the fields of POINT."""
    points = hypotheses.points()
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=_FIELDS,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(points),
        data=array("B", points.tobytes()),  # of anything else each byte may be checked
        is_dense=False,  # an unknown yaw is NaN
    )


def points_from_cloud(message: PointCloud2) -> NDArray[np.void]:
    """Return the (N,) points, of dtype POINT, of a ~/hypotheses message."""
    if message.point_step != POINT.itemsize or [field.name for field in message.fields] != list(
        POINT.names or ()
    ):
        raise InputError(
            f"points with the fields {[field.name for field in message.fields]}: expected {POINT.names}"
        )
    return np.frombuffer(bytes(message.data), POINT)
