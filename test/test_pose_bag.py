"""Bags with poses instead of GPS."""

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore

from test.error_lines import input_error
from vpr_ros.drives.bag_file import COMPRESSED, ODOMETRY
from vpr_ros.drives.datasets.local_frame import LocalFrame, parse_datum
from vpr_ros.drives.datasets.pose_bag import POSE, POSE_COVARIANCE, read_pose_bag
from vpr_ros.drives.recording import open_recording
from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.sources import read_source

DATUM = Datum(48.0, 11.0, 500.0)
SECOND = 10**9
KINDS = [ODOMETRY, POSE, POSE_COVARIANCE]


def write(path, kind, points, images=(0.5, 1.5), topics=("/odom",), version=Stores.ROS2_HUMBLE):
    """Write poses, one a second, (x, y, z, yaw); and PNGs of their number at some seconds."""
    types = get_typestore(version)
    ros1 = version is Stores.ROS1_NOETIC
    make = types.types

    def header(seconds):
        stamp = round(seconds * SECOND) + SECOND
        time = make["builtin_interfaces/msg/Time"](sec=stamp // SECOND, nanosec=stamp % SECOND)
        return make["std_msgs/msg/Header"](stamp=time, frame_id="map", **({"seq": 0} if ros1 else {}))

    def pose(x, y, z, yaw):
        return make["geometry_msgs/msg/Pose"](
            position=make["geometry_msgs/msg/Point"](x=x, y=y, z=z),
            orientation=make["geometry_msgs/msg/Quaternion"](
                x=0.0, y=0.0, z=np.sin(yaw / 2), w=np.cos(yaw / 2)
            ),
        )

    def message(seconds, point):
        if kind == POSE:
            return make[kind](header=header(seconds), pose=pose(*point))
        spread = make["geometry_msgs/msg/PoseWithCovariance"](pose=pose(*point), covariance=np.zeros(36))
        if kind == POSE_COVARIANCE:
            return make[kind](header=header(seconds), pose=spread)
        still = make["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        twist = make["geometry_msgs/msg/Twist"](linear=still, angular=still)
        twist = make["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36))
        return make[kind](header=header(seconds), child_frame_id="base_link", pose=spread, twist=twist)

    def picture(seconds, number):
        data = cv2.imencode(".png", np.full((6, 8, 3), number, np.uint8))[1].ravel()
        return make[COMPRESSED](header=header(seconds), format="png", data=data)

    entries = [(s, topic, kind, message(s, p)) for topic in topics for s, p in enumerate(points)]
    entries += [(s, "/camera/compressed", COMPRESSED, picture(s, n)) for n, s in enumerate(images)]
    opened = Ros1Writer(path) if ros1 else Ros2Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    serialize = types.serialize_ros1 if ros1 else types.serialize_cdr
    with opened as writer:
        connections = {}
        for seconds, topic, of, content in sorted(entries, key=lambda entry: entry[0]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, of, typestore=types)
            writer.write(connections[topic], round((1 + seconds) * SECOND), serialize(content, of))
    return path


CURVE = [(0.0, 0.0, 0.0, 0.0), (10.0, 0.0, 1.0, np.pi / 2), (10.0, 10.0, 2.0, np.pi)]


def enu(images):
    rows = images.rows
    return to_enu(rows["latitude"], rows["longitude"], rows["altitude"], DATUM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [Stores.ROS2_HUMBLE, Stores.ROS1_NOETIC])
def test_images_are_placed_by_poses(tmp_path, kind, version):
    path = tmp_path / ("drive.bag" if version is Stores.ROS1_NOETIC else "drive")
    images = read_pose_bag(write(path, kind, CURVE, version=version), DATUM)
    np.testing.assert_allclose(enu(images), [[5, 0, 0.5], [10, 5, 1.5]], atol=1e-3)
    np.testing.assert_allclose(images.rows["heading"], [45, 315], atol=1e-6)
    assert images.read(1)[0, 0, 0] == 1


def test_a_frame_that_is_turned(tmp_path):
    images = read_pose_bag(write(tmp_path / "drive", POSE, CURVE), DATUM, heading=0.0)
    np.testing.assert_allclose(enu(images)[:, :2], [[0, 5], [-5, 10]], atol=1e-3)
    np.testing.assert_allclose(images.rows["heading"], [315, 225], atol=1e-6)


def test_the_axes_of_a_frame():
    frame = LocalFrame(DATUM, 30.0)
    ahead, left = to_enu(*frame.positions([[10.0, 0, 0], [0, 10.0, 0]]).T, DATUM)[:, :2]
    np.testing.assert_allclose(ahead, [5, 10 * 3**0.5 / 2], atol=1e-4)
    np.testing.assert_allclose(left, [-10 * 3**0.5 / 2, 5], atol=1e-4)
    np.testing.assert_allclose(frame.headings([0, np.pi / 2, -np.pi]), [30, 300, 210])


def test_as_a_source_and_to_be_replayed(tmp_path):
    path = write(tmp_path / "drive", ODOMETRY, CURVE)
    source = type(path)(f"bag,datum=48.0/11.0/500,poses=/odom:{path}")
    np.testing.assert_allclose(enu(read_source(source))[0], [5, 0, 0.5], atol=1e-3)
    recording = open_recording(source)
    assert [frame.row for frame in recording.frames()] == [0, 1]
    assert recording.messages is not None


def test_poses_need_a_datum(tmp_path):
    path = write(tmp_path / "drive", ODOMETRY, CURVE)
    with input_error(path, "bag,datum="):
        read_source(type(path)(f"bag,poses=/odom:{path}"))


def test_two_topics_and_the_one_that_is_named(tmp_path):
    path = write(tmp_path / "drive", ODOMETRY, CURVE, topics=("/odom", "/wheels"))
    with input_error(path, "/odom, /wheels", "poses="):
        read_pose_bag(path, DATUM)
    assert len(read_pose_bag(path, DATUM, poses="/wheels")) == 2


def test_poses_that_are_not_finite_are_left_out(tmp_path):
    lost = (np.nan, 0.0, 0.0, 0.0)
    images = read_pose_bag(write(tmp_path / "drive", POSE, [CURVE[0], lost, CURVE[2]]), DATUM)
    np.testing.assert_allclose(enu(images)[0], [2.5, 2.5, 0.5], atol=1e-3)
    with input_error(tmp_path / "lost", "no finite pose on /odom"):
        read_pose_bag(write(tmp_path / "lost", POSE, [lost]), DATUM)


def test_a_bag_without_poses(tmp_path):
    path = write(tmp_path / "drive", POSE, [])
    with input_error(path, POSE, "it holds /camera/compressed"):
        read_pose_bag(path, DATUM)


@pytest.mark.parametrize(
    ("text", "datum"), [("48/11", Datum(48, 11, 0)), ("-33.85/151.2/-3.5", Datum(-33.85, 151.2, -3.5))]
)
def test_datums(text, datum):
    assert parse_datum(text) == datum


@pytest.mark.parametrize(
    "text", ["", "48", "48,11", "48/11/1/2", "x/11", "95/11", "11/190", "nan/1", "1/1/inf"]
)
def test_datums_that_are_none(text):
    with input_error(f"'{text}'", "expected"):
        parse_datum(text)
