"""What the localisers downstream check of a message, over answers of every kind.

The checks are those of robot_localization's navsat_transform_node and EKF, of nav2's amcl on /initialpose,
and of fuse, as functions of their own here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import NavSatFix, NavSatStatus
from std_msgs.msg import Header

from test.some_places import a_map
from vpr_ros import messages
from vpr_ros.geodesy import Datum, to_enu
from vpr_ros.hypotheses import Belief, Hypotheses, gather

MAP_FRAME, CAMERA_FRAME = "map", "camera_front"
#: Stamp of the image that was answered.
SECONDS, NANOSECONDS = 1_750_000_000, 123_456_789


def header(frame: str) -> Header:
    made = Header(frame_id=frame)
    made.stamp.sec, made.stamp.nanosec = SECONDS, NANOSECONDS
    return made


# --- what others check


def navsat_transform_takes(fix: NavSatFix) -> bool:
    """Of robot_localization: a fix without a fix, or with a NaN where it is, is dropped."""
    known = not any(math.isnan(value) for value in (fix.latitude, fix.longitude, fix.altitude))
    return fix.status.status != NavSatStatus.STATUS_NO_FIX and known


def ekf_takes(covariance: np.ndarray) -> bool:
    """Of robot_localization: a variance that is not positive is replaced by a tiny one, which is trusted."""
    return bool(np.isfinite(covariance).all() and (np.diag(covariance) > 0).all())


def fuse_takes(mean: np.ndarray, covariance: np.ndarray) -> bool:
    """Of fuse: it throws where a mean is not finite, or a covariance not symmetric and positive definite."""
    if not np.isfinite(mean).all() or not np.isfinite(covariance).all():
        return False
    off = np.linalg.norm(covariance - covariance.T)
    if off > 1e-12 * np.linalg.norm(covariance):
        return False
    if not np.linalg.eigvalsh(covariance).min() > 0:
        return False
    try:  # its constraints are whitened by the root of the inverse
        root = np.linalg.cholesky(np.linalg.inv(covariance))
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(root).all())


def unit(quaternion: Quaternion) -> bool:
    parts = (quaternion.x, quaternion.y, quaternion.z, quaternion.w)
    return all(map(math.isfinite, parts)) and abs(sum(part**2 for part in parts) - 1) < 1e-4


def amcl_takes(pose: PoseWithCovarianceStamped, global_frame: str) -> bool:
    """Of nav2: exactly its frame, a stamp that is one, and numbers that are."""
    position = pose.pose.pose.position
    return (
        pose.header.frame_id == global_frame
        and pose.header.stamp.nanosec < 10**9
        and all(map(math.isfinite, (position.x, position.y, position.z)))
        and unit(pose.pose.pose.orientation)
        and bool(np.isfinite(pose.pose.covariance).all())
    )


@pytest.mark.parametrize(
    "covariance",
    [
        np.zeros((3, 3)),
        np.diag([1.0, 0.0, 1.0]),
        np.diag([1.0, -1.0, 1.0]),
        np.full((3, 3), np.nan),
        np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    ],
    ids=["zeros", "a zero", "negative", "nan", "indefinite", "not symmetric"],
)
def test_the_check_of_covariances_can_fail(covariance: np.ndarray) -> None:
    assert not fuse_takes(np.zeros(3), covariance)
    assert fuse_takes(np.zeros(3), np.eye(3))


# --- answers of every kind

metres = st.floats(-5000, 5000)
headings = st.one_of(st.just(math.nan), st.floats(0, 359.99))
places = st.lists(
    st.tuples(metres, metres, st.floats(-300, 3000), headings, st.floats(-12, 40)), min_size=1, max_size=12
)
datums = st.builds(
    Datum,
    st.one_of(st.floats(-89, 89), st.sampled_from([0.0, -89.0, 89.0])),
    st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 0.0, 179.9999, 180.0])),
    st.floats(-400, 5000),
)
beliefs = st.builds(
    Belief,
    temperature=st.floats(0.05, 5),
    none_margin=st.floats(-5, 5),
    cluster_radius=st.floats(0.1, 1e4),
    view_std=st.floats(1e-3, 100),
    vertical_std=st.floats(1e-3, 100),
    yaw_std=st.floats(0.02, 3),
    covariance_scale=st.floats(1e-3, 1e3),
)


@st.composite
def answers(draw: st.DrawFn) -> Hypotheses:
    """Draw what a map, of any place on earth, answers to an image."""
    rows = draw(places)
    if draw(st.booleans()):  # all at one spot
        rows = [(*rows[0][:3], *row[3:]) for row in rows]
    place_map = a_map(
        [row[:3] for row in rows],
        [row[3] for row in rows],
        geotag_std=draw(st.floats(0.01, 50)),
        spacing=draw(st.floats(0, 100)),
        datum=draw(datums),
    )
    scores = np.array([row[4] for row in rows])
    order = np.argsort(-scores, kind="stable")
    return gather(scores[order], order, place_map, draw(beliefs))


@settings(max_examples=200, deadline=None)
@given(answers(), st.booleans())
def test_every_fix_is_taken(answer: Hypotheses, calibrated: bool) -> None:
    for hypothesis in answer.ranked:
        fix = messages.fix_from_hypothesis(hypothesis, header(CAMERA_FRAME), calibrated)
        assert navsat_transform_takes(fix)
        assert math.isfinite(fix.altitude)
        assert abs(fix.latitude) <= 90
        assert abs(fix.longitude) <= 180
        assert fix.status.status == NavSatStatus.STATUS_FIX
        assert fix.status.service == 0  # no satellite has told it
        covariance = np.array(fix.position_covariance).reshape(3, 3)
        assert ekf_takes(covariance)
        assert fuse_takes(hypothesis.enu, covariance)
        assert fix.position_covariance_type == (
            NavSatFix.COVARIANCE_TYPE_KNOWN if calibrated else NavSatFix.COVARIANCE_TYPE_APPROXIMATED
        )
        # the image's stamp, and a frame that the robot has
        assert fix.header == header(CAMERA_FRAME)


@settings(max_examples=200, deadline=None)
@given(answers())
def test_every_pose_is_taken(answer: Hypotheses) -> None:
    for hypothesis in answer.ranked:
        pose = messages.pose_from_hypothesis(hypothesis, header(MAP_FRAME))
        assert pose.header == header(MAP_FRAME)
        assert amcl_takes(pose, MAP_FRAME)
        assert not amcl_takes(pose, "odom")
        covariance = np.array(pose.pose.covariance).reshape(6, 6)
        assert ekf_takes(covariance)
        assert fuse_takes(hypothesis.enu, covariance)
        # fuse may take the plane alone: x, y, yaw
        plane = np.ix_([0, 1, 5], [0, 1, 5])
        assert fuse_takes(hypothesis.enu, covariance[plane])
        # upright on the ground, looking where the yaw says
        turned = pose.pose.pose.orientation
        assert (turned.x, turned.y) == (0.0, 0.0)
        if not math.isnan(hypothesis.yaw):
            yaw = math.atan2(2 * turned.w * turned.z, 1 - 2 * turned.z**2)
            assert math.remainder(yaw - hypothesis.yaw, 2 * math.pi) == pytest.approx(0, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(answers())
def test_what_is_not_known_has_a_wide_and_finite_variance(answer: Hypotheses) -> None:
    """A match says nothing of roll and pitch, and where no place has a heading, nothing of yaw."""
    for hypothesis in answer.ranked:
        pose = messages.pose_from_hypothesis(hypothesis, header(MAP_FRAME))
        variances = np.diag(np.array(pose.pose.covariance).reshape(6, 6))[3:]
        assert (variances[:2] == messages.UNKNOWN_ANGLE).all()
        if math.isnan(hypothesis.yaw):
            assert variances[2] == messages.UNKNOWN_ANGLE >= math.pi**2
        else:
            assert 0 < variances[2] <= messages.UNKNOWN_ANGLE


@settings(max_examples=100, deadline=None)
@given(answers())
def test_points_and_poses_for_people_are_those_of_the_answer(answer: Hypotheses) -> None:
    cloud = messages.cloud_from_hypotheses(answer, header(MAP_FRAME))
    points = messages.points_from_cloud(cloud)
    assert cloud.header == header(MAP_FRAME)
    assert len(points) == len(answer.ranked)
    for name in ("x", "y", "z", "latitude", "longitude", "var_east", "var_north", "cov_east_north"):
        assert np.isfinite(points[name]).all()
    assert (points["var_east"] * points["var_north"] > points["cov_east_north"] ** 2 * (1 - 1e-5)).all()
    poses = messages.poses_from_hypotheses(answer, header(MAP_FRAME))
    assert poses.header == header(MAP_FRAME)
    assert all(unit(pose.orientation) for pose in poses.poses)
    assert [pose.position.x for pose in poses.poses] == pytest.approx(points["x"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("along", ["east", "north", "up"])
def test_covariances_are_east_north_up_row_by_row(along: str) -> None:
    """An answer that is uncertain eastwards alone says so in the first number, and so on."""
    axis = ["east", "north", "up"].index(along)
    enu = np.zeros((2, 3))
    enu[:, axis] = [-10.0, 10.0]
    place_map = a_map(enu, geotag_std=0.1, spacing=0.0)
    belief = Belief(view_std=0.1, vertical_std=0.1, cluster_radius=50.0)
    (hypothesis,) = gather(np.array([5.0, 5.0]), np.array([0, 1]), place_map, belief).ranked
    fix = messages.fix_from_hypothesis(hypothesis, header(CAMERA_FRAME), calibrated=False)
    pose = messages.pose_from_hypothesis(hypothesis, header(MAP_FRAME))
    for numbers, size in ((fix.position_covariance, 3), (pose.pose.covariance, 6)):
        variances = [numbers[(size + 1) * n] for n in range(3)]
        assert variances[axis] == pytest.approx(4 * 100, rel=0.01)
        assert max(v for n, v in enumerate(variances) if n != axis) < 1


def test_what_lies_across_the_axes_is_beside_the_diagonal() -> None:
    place_map = a_map([[-3, -4, -1], [3, 4, 1]], geotag_std=0.1, spacing=0.0)
    belief = Belief(cluster_radius=50.0, covariance_scale=1.0)
    (hypothesis,) = gather(np.array([5.0, 5.0]), np.array([0, 1]), place_map, belief).ranked
    fix = messages.fix_from_hypothesis(hypothesis, header(CAMERA_FRAME), calibrated=False)
    assert [fix.position_covariance[n] for n in (1, 2, 5)] == pytest.approx([12, 3, 4])
    assert [fix.position_covariance[n] for n in (3, 6, 7)] == pytest.approx([12, 3, 4])
    pose = messages.pose_from_hypothesis(hypothesis, header(MAP_FRAME))
    assert [pose.pose.covariance[n] for n in (1, 2, 8)] == pytest.approx([12, 3, 4])


@settings(max_examples=60, deadline=None)
@given(datums)
def test_fix_and_pose_are_one_position(datum: Datum) -> None:
    """Whoever turns the fix into metres about the map's datum finds the pose."""
    place_map = a_map([[120.0, -80.0, 7.0]], datum=datum)
    (hypothesis,) = gather(np.array([5.0]), np.array([0]), place_map, Belief()).ranked
    fix = messages.fix_from_hypothesis(hypothesis, header(CAMERA_FRAME), calibrated=False)
    position = messages.pose_from_hypothesis(hypothesis, header(MAP_FRAME)).pose.pose.position
    found = to_enu(fix.latitude, fix.longitude, fix.altitude, datum)
    assert found == pytest.approx([position.x, position.y, position.z], abs=1e-4)
