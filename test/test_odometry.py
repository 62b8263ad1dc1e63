"""Where odometry says that the robot is: between poses, beside them, and the way from one to another."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vpr_ros.odometry import Motion, Odometry, Pose

SECOND = 10**9

metres = st.floats(-1e4, 1e4)
angles = st.floats(-math.pi, math.pi)
poses = st.builds(Pose, metres, metres, angles)


def odometry_of(*entries, kept=Odometry.KEPT):
    """Return odometry with these (seconds, pose)."""
    odometry = Odometry(kept)
    for seconds, pose in entries:
        odometry.add(round(seconds * SECOND), pose)
    return odometry


def at(odometry, seconds):
    return odometry.at(round(seconds * SECOND))


def turned_by(first, second):
    return math.remainder(second - first, 2 * math.pi)


def matrix(x, y, yaw):
    """A rigid motion of the plane, as mathematics has it."""
    return np.array([[math.cos(yaw), -math.sin(yaw), x], [math.sin(yaw), math.cos(yaw), y], [0, 0, 1]])


# --- the way from one pose to another


@given(poses, poses)
def test_a_motion_is_what_leads_from_one_pose_to_the_next(first, later):
    motion = first.motion_to(later)
    led = matrix(first.x, first.y, first.yaw) @ matrix(motion.ahead, motion.left, motion.turn)
    assert led == pytest.approx(matrix(later.x, later.y, later.yaw), abs=1e-6)
    assert -math.pi <= motion.turn < math.pi
    assert motion.distance == pytest.approx(math.dist((first.x, first.y), (later.x, later.y)), abs=1e-6)


@given(poses, poses, poses)
def test_motions_compose(first, second, third):
    """From the first to the second and on to the third is from the first to the third."""
    one, other, whole = first.motion_to(second), second.motion_to(third), first.motion_to(third)
    composed = matrix(one.ahead, one.left, one.turn) @ matrix(other.ahead, other.left, other.turn)
    assert composed == pytest.approx(matrix(whole.ahead, whole.left, whole.turn), abs=1e-6)


@given(poses, poses, poses)
def test_a_motion_does_not_depend_on_where_odometry_begins(first, later, origin):
    frame = matrix(origin.x, origin.y, origin.yaw)
    moved = []
    for pose in (first, later):
        x, y, _ = frame @ [pose.x, pose.y, 1]
        moved.append(Pose(float(x), float(y), pose.yaw + origin.yaw))
    same, motion = moved[0].motion_to(moved[1]), first.motion_to(later)
    assert (same.ahead, same.left) == pytest.approx((motion.ahead, motion.left), abs=1e-6)
    assert turned_by(same.turn, motion.turn) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("later", "ahead", "left", "turn"),
    [
        (Pose(1.0, 5.0, math.pi / 2), 3.0, 0.0, 0.0),
        (Pose(-1.0, 2.0, math.pi / 2), 0.0, 2.0, 0.0),
        (Pose(1.0, 1.0, math.pi), -1.0, 0.0, math.pi / 2),
        (Pose(1.0, 2.0, -math.pi + 0.1), 0.0, 0.0, math.pi / 2 + 0.1),
    ],
)
def test_ahead_and_left_are_as_the_robot_sees_them(later, ahead, left, turn):
    motion = Pose(1.0, 2.0, math.pi / 2).motion_to(later)  # it looks along y
    assert (motion.ahead, motion.left, motion.turn) == pytest.approx((ahead, left, turn))


def test_distance():
    assert Motion(3.0, -4.0, 2.0).distance == 5.0


# --- between poses


@given(poses, poses, st.floats(0, 1))
@example(Pose(0, 0, 3.0), Pose(0, 0, -3.0), 0.75)
def test_between_two_poses_it_is_on_the_straight_way_and_turns_the_short_way(first, second, share):
    odometry = odometry_of((5.0, first), (6.0, second))
    stamp = 5 * SECOND + round(share * SECOND)
    pose = odometry.at(stamp)
    share = (stamp - 5 * SECOND) / SECOND
    assert pose.x == pytest.approx(first.x + share * (second.x - first.x), abs=1e-6)
    assert pose.y == pytest.approx(first.y + share * (second.y - first.y), abs=1e-6)
    assert -math.pi <= pose.yaw <= math.pi
    whole = turned_by(first.yaw, second.yaw)
    assert abs(turned_by(first.yaw, pose.yaw)) <= abs(whole) + 1e-9
    if abs(whole) < 3.1:  # half a turn may go either way
        assert turned_by(first.yaw + share * whole, pose.yaw) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [(3.0, -3.0), (-3.0, 3.0), (math.pi - 0.1, -math.pi + 0.1)])
def test_yaw_goes_through_pi_and_not_through_zero(first, second):
    pose = at(odometry_of((0.0, Pose(0, 0, first)), (1.0, Pose(0, 0, second))), 0.5)
    assert abs(pose.yaw) == pytest.approx(math.pi)
    assert -math.pi <= pose.yaw <= math.pi


@given(st.lists(st.tuples(st.integers(1, SECOND), poses), min_size=2, max_size=8), st.data())
def test_at_a_stamp_it_is_the_pose_of_that_stamp(steps, data):
    stamps = np.cumsum([wait for wait, _ in steps]).tolist()
    odometry = Odometry()
    for stamp, (_, pose) in zip(stamps, steps, strict=True):
        odometry.add(stamp, pose)
    which = data.draw(st.integers(0, len(steps) - 1))
    assert odometry.at(stamps[which]) == steps[which][1]


def test_stamps_of_ros_time_lose_no_nanosecond():
    """As floats, those of today are 256 ns apart."""
    start = 1_750_000_000_123_456_789
    odometry = Odometry()
    odometry.add(start, Pose(0.0, 0.0, 0.0))
    odometry.add(start + 10, Pose(10.0, 0.0, 0.0))
    assert [odometry.at(start + n).x for n in range(11)] == pytest.approx(list(range(11)))


# --- where it is not known


def test_nothing_is_known_before_the_first_pose():
    assert Odometry().at(0) is None
    odometry = odometry_of((5.0, Pose(1, 2, 3)), (5.1, Pose(1, 2, 3)))
    assert odometry.at(5 * SECOND - 1) is None
    assert odometry.at(5 * SECOND) == Pose(1, 2, 3)


def test_of_a_gap_nothing_is_known():
    ends = Pose(0, 0, 0), Pose(1, 0, 0)
    gap = Odometry.MAX_GAP / SECOND
    odometry = odometry_of(
        (0.0, ends[0]), (gap, ends[1]), (2 * gap + 1e-9, ends[0]), (2 * gap + 0.1, ends[1])
    )
    assert at(odometry, gap / 2) == Pose(0.5, 0.0, 0.0)  # as long as a gap may be
    assert at(odometry, gap) == ends[1]
    for share in (0.01, 0.2, 0.5, 0.99):
        assert at(odometry, gap + share * gap) is None
    assert at(odometry, 2 * gap + 0.05).x == pytest.approx(0.5)


def test_just_after_the_last_pose_it_is_the_last():
    odometry = odometry_of((0.0, Pose(0, 0, 0)), (0.1, Pose(1, 2, 3)))
    last, late = SECOND // 10, Odometry.MAX_GAP // 4
    assert odometry.at(last + 1) == odometry.at(last + late) == Pose(1, 2, 3)
    assert odometry.at(last + late + 1) is None


def test_a_pose_that_comes_later_makes_it_exact():
    odometry = odometry_of((0.0, Pose(0, 0, 0)))
    assert at(odometry, 0.05) == Pose(0, 0, 0)
    odometry.add(SECOND // 10, Pose(2.0, 0, 0))
    assert at(odometry, 0.05) == Pose(1.0, 0, 0)


# --- what is kept


@pytest.mark.parametrize("back", [1, SECOND, 1000 * SECOND])
def test_a_clock_that_goes_back_begins_anew(back):
    """As of a bag that is played again: the poses of both times are not mixed."""
    odometry = odometry_of((1000.0, Pose(7, 7, 0)), (1000.5, Pose(8, 8, 0)))
    stamp = round(1000.5 * SECOND) - back
    odometry.add(stamp, Pose(1, 1, 0))
    assert odometry.at(stamp) == Pose(1, 1, 0)
    assert odometry.at(stamp - 1) is None
    odometry.add(stamp + SECOND // 10, Pose(2, 2, 0))
    assert odometry.at(stamp + SECOND // 20).x == pytest.approx(1.5)
    assert odometry.at(stamp + SECOND) is None


def test_a_stamp_that_is_there_twice_counts_once():
    odometry = odometry_of(
        (0.0, Pose(0, 0, 0)), (0.5, Pose(1, 0, 0)), (0.5, Pose(9, 9, 9)), (1.0, Pose(2, 0, 0))
    )
    assert at(odometry, 0.25).x == pytest.approx(0.5)
    assert at(odometry, 0.5) == Pose(1, 0, 0)
    assert at(odometry, 0.75).x == pytest.approx(1.5)


@pytest.mark.parametrize("kept", [1, 3, Odometry.KEPT])
def test_the_latest_poses_are_kept(kept):
    total = kept + 5
    odometry = odometry_of(*((0.01 * n, Pose(n, 0, 0)) for n in range(total)), kept=kept)
    known = [n for n in range(total) if at(odometry, 0.01 * n) is not None]
    assert known == list(range(total - kept, total))


def test_all_are_kept_where_that_is_asked_for():
    count = Odometry.KEPT + 500
    odometry = odometry_of(*((0.01 * n, Pose(n, 0, 0)) for n in range(count)), kept=None)
    assert at(odometry, 0.0) == Pose(0, 0, 0)
    assert at(odometry, 0.01 * (count - 1)) == Pose(count - 1, 0, 0)
