"""Hypotheses and images to and from ROS messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CompressedImage, NavSatFix, PointCloud2, PointField
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from test.small_world import picture
from vpr_ros import messages
from vpr_ros.errors import InputError
from vpr_ros.hypotheses import POINT, Hypotheses, Hypothesis


def hypothesis(yaw: float = 0.5, probability: float = 0.6) -> Hypothesis:
    return Hypothesis(
        enu=np.array([1.0, 2.0, 3.0]),
        geodetic=np.array([48.0, 11.0, 500.0]),
        covariance=np.array([[4.0, 1.0, 0.0], [1.0, 5.0, 0.5], [0.0, 0.5, 9.0]]),
        yaw=yaw,
        yaw_variance=np.nan if np.isnan(yaw) else 0.1,
        probability=probability,
        places=(7, 3),
    )


def header() -> Header:
    made = Header(frame_id="map")
    made.stamp.sec, made.stamp.nanosec = 12, 34
    return made


def test_points_survive_the_way_there_and_back() -> None:
    ranked = [hypothesis(), hypothesis(np.nan, 0.2)]
    cloud = messages.cloud_from_hypotheses(Hypotheses(ranked, 0.2), header())

    points = messages.points_from_cloud(cloud)
    assert cloud.header == header()
    assert cloud.width * cloud.point_step == len(cloud.data) == cloud.row_step
    assert points["place"].tolist() == [7, 7]
    assert points["latitude"].tolist() == [48.0, 48.0]
    assert points[["x", "y", "z"]][0].tolist() == (1.0, 2.0, 3.0)
    assert points[["var_east", "cov_east_north", "var_north"]][0].tolist() == (4.0, 1.0, 5.0)
    assert points["probability"] == pytest.approx([0.6, 0.2])
    assert points["yaw"][0] == pytest.approx(0.5)
    assert np.isnan(points["yaw"][1])


def test_the_fields_lie_where_the_cloud_says() -> None:
    """As any reader of PointCloud2 would read it."""
    cloud = messages.cloud_from_hypotheses(Hypotheses([hypothesis()], 0.4), header())
    kinds = {PointField.FLOAT32: "<f4", PointField.FLOAT64: "<f8", PointField.UINT32: "<u4"}
    read = {
        field.name: np.frombuffer(bytes(cloud.data), kinds[field.datatype], 1, field.offset)[0]
        for field in cloud.fields
    }
    assert read["longitude"] == 11.0
    assert read["z"] == 3.0
    assert read["place"] == 7
    assert read["cov_east_north"] == 1.0
    assert [field.name for field in cloud.fields] == list(POINT.names)
    assert cloud.point_step == POINT.itemsize


def test_no_hypotheses_are_an_empty_cloud() -> None:
    cloud = messages.cloud_from_hypotheses(Hypotheses([], 1.0), header())
    assert len(messages.points_from_cloud(cloud)) == 0


def test_another_cloud_is_refused() -> None:
    with pytest.raises(InputError, match="expected"):
        messages.points_from_cloud(PointCloud2(point_step=16))


@pytest.mark.parametrize(
    ("calibrated", "kind"),
    [(True, NavSatFix.COVARIANCE_TYPE_KNOWN), (False, NavSatFix.COVARIANCE_TYPE_APPROXIMATED)],
)
def test_a_covariance_is_known_only_where_it_is_calibrated(calibrated: bool, kind: int) -> None:
    fix = messages.fix_from_hypothesis(hypothesis(), header(), calibrated)
    assert fix.position_covariance_type == kind


def test_a_fix_carries_the_covariance_row_by_row() -> None:
    fix = messages.fix_from_hypothesis(hypothesis(), header(), calibrated=True)
    assert fix.position_covariance.tolist() == [4, 1, 0, 1, 5, 0.5, 0, 0.5, 9]
    assert (fix.latitude, fix.longitude, fix.altitude) == (48.0, 11.0, 500.0)
    assert fix.status.service == 0


def test_a_pose_turns_by_yaw_and_is_positive_definite() -> None:
    pose = messages.pose_from_hypothesis(hypothesis(yaw=np.pi / 2), header())
    orientation = pose.pose.pose.orientation
    assert (orientation.z, orientation.w) == pytest.approx((np.sqrt(0.5), np.sqrt(0.5)))
    covariance = np.array(pose.pose.covariance).reshape(6, 6)
    assert covariance[:3, :3].tolist() == hypothesis().covariance.tolist()
    assert covariance[5, 5] == pytest.approx(0.1)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_a_pose_without_yaw_says_so_by_its_variance() -> None:
    pose = messages.pose_from_hypothesis(hypothesis(yaw=np.nan), header())
    assert pose.pose.covariance[35] == messages.UNKNOWN_ANGLE
    assert pose.pose.pose.orientation.w == 1.0


def test_a_yaw_worse_than_unknown_is_unknown() -> None:
    """Places that look opposite ways have a circular variance that is much more than a turn."""
    pose = messages.pose_from_hypothesis(replace(hypothesis(), yaw_variance=27.0), header())
    assert pose.pose.covariance[35] == messages.UNKNOWN_ANGLE


def odometry(x: float, y: float, orientation: Quaternion) -> Odometry:
    message = Odometry(header=header())
    message.pose.pose.position.x, message.pose.pose.position.y, message.pose.pose.position.z = x, y, 9.0
    message.pose.pose.orientation = orientation
    return message


@pytest.mark.parametrize("yaw", [-3.0, -0.5, 0.0, 1.0, np.pi / 2, 3.1])
def test_odometry_is_where_and_which_way(yaw: float) -> None:
    turned = Quaternion(z=np.sin(yaw / 2), w=np.cos(yaw / 2))
    pose = messages.pose_from_odometry(odometry(1.5, -2.5, turned))
    assert pose is not None
    assert (pose.x, pose.y, pose.yaw) == pytest.approx((1.5, -2.5, yaw))


def test_of_a_tilted_robot_it_is_the_heading_on_the_ground() -> None:
    """Yaw, then pitch, then roll: the first is what is left of them on a map."""
    yaw, pitch, roll = 1.0, -0.3, 0.2
    half = [(np.cos(angle / 2), np.sin(angle / 2)) for angle in (yaw, pitch, roll)]
    (cy, sy), (cp, sp), (cr, sr) = half
    turned = Quaternion(
        w=cr * cp * cy + sr * sp * sy,
        x=sr * cp * cy - cr * sp * sy,
        y=cr * sp * cy + sr * cp * sy,
        z=cr * cp * sy - sr * sp * cy,
    )
    pose = messages.pose_from_odometry(odometry(0.0, 0.0, turned))
    assert pose is not None
    assert pose.yaw == pytest.approx(yaw)


@pytest.mark.parametrize(
    "message",
    [
        odometry(np.nan, 0.0, Quaternion(w=1.0)),
        odometry(0.0, np.inf, Quaternion(w=1.0)),
        odometry(0.0, 0.0, Quaternion(z=np.nan, w=1.0)),
    ],
    ids=["x", "y", "yaw"],
)
def test_odometry_that_is_not_finite_is_none(message: Odometry) -> None:
    assert messages.pose_from_odometry(message) is None


def test_a_stamp_is_nanoseconds() -> None:
    assert messages.stamp_to_ns(header().stamp) == 12_000_000_034


def test_rgb8_is_viewed_in_place() -> None:
    message = ImageMessage(height=96, width=128, encoding="rgb8", step=384, data=picture(0).tobytes())
    image = messages.image_from_message(message).rgb()
    assert np.array_equal(image, picture(0))
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1", "nonsense", "", "\x00\n"])
def test_what_is_no_picture_is_refused_in_one_line(encoding: str) -> None:
    message = ImageMessage(height=2, width=2, encoding=encoding, step=8, data=bytes(16))
    with pytest.raises(InputError) as caught:
        messages.image_from_message(message)
    assert "\n" not in str(caught.value)


def test_compressed_images_there_and_back() -> None:
    message = messages.compressed_from_rgb(picture(1), header())
    assert isinstance(message, CompressedImage)
    assert np.abs(messages.image_from_compressed_message(message).rgb().astype(int) - picture(1)).mean() < 8


def test_an_image_of_too_many_pixels_is_refused() -> None:
    message = ImageMessage(height=96, width=128, encoding="rgb8", step=384, data=picture(0).tobytes())
    with pytest.raises(InputError, match="128x96: expected at most 12287 pixels"):
        messages.image_from_message(message, max_pixels=96 * 128 - 1)
    assert messages.image_from_message(message, max_pixels=96 * 128).pixels.shape == (96, 128, 3)
