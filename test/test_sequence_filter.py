"""The filter against its equations, place by place, and on drives through places that are numbers alone."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.some_places import a_map, in_a_row
from vpr_ros import sequence_filter
from vpr_ros.clusters import SAME_VIEW
from vpr_ros.errors import InputError
from vpr_ros.geodesy import heading_to_yaw
from vpr_ros.hypotheses import Belief
from vpr_ros.odometry import Pose
from vpr_ros.sequence_filter import (
    DRIFT,
    FORGET,
    LEAST,
    MOST,
    ON_MAP,
    SHOWN,
    STANDING,
    STILL,
    Dynamics,
    SequenceFilter,
)

SECOND = 10**9
#: Places are told apart, however near they lie.
APART = Belief(cluster_radius=1e-3)
#: What training/calibrate.py finds for the scores of these drives: N(2.5, 1) is right, N(0, 0.8) is not.
FITTED = Dynamics(sharpness=3.0, lost_score=1.2)


# --- the equations


class Dense:
    """The equations of the module's docstring, over every place of the map, one at a time."""

    def __init__(self, place_map, belief, dynamics):
        self.map, self.belief, self.dynamics = place_map, belief, dynamics
        self.yaw = heading_to_yaw(place_map.places["heading"])
        self.slack = place_map.spacing + place_map.geotag_std
        self.stamp = None

    def step(self, stamp, pose, places, scores):
        seconds = 0.0 if self.stamp is None else (stamp - self.stamp) / SECOND
        if self.stamp is None or seconds < 0 or seconds > FORGET:
            self.p, self.lost = np.zeros(len(self.map)), 1.0
            self.pose = self.stop = pose
            self.still = 0.0
            self.enter(places, ON_MAP)
            evidence = 1.0
        else:
            evidence = min(1.0, seconds / self.dynamics.look) * self.move(seconds, pose)
            stay = math.exp(-self.dynamics.leave * seconds)
            self.lost += self.p.sum() * (1 - stay)
            self.p *= stay
            self.enter(places, 1 - math.exp(-self.dynamics.enter * seconds))
        self.p *= np.exp(evidence * self.dynamics.sharpness * (scores - self.dynamics.lost_score))
        total = self.p.sum() + self.lost
        self.p, self.lost = self.p / total, self.lost / total
        self.stamp = stamp

    def enter(self, places, share):
        each = self.lost * share / len(self.map)
        for place in places:
            self.p[place] += each
            self.lost -= each

    def move(self, seconds, pose):
        if pose is None or self.pose is None:
            self.pose = self.stop = pose
            self.still = 0.0
            reach = self.dynamics.max_speed * seconds + self.slack
            self.spread(lambda place, to: float(math.dist(self.xy(place), self.xy(to)) <= reach))
            return 1.0
        if math.dist((pose.x, pose.y), (self.pose.x, self.pose.y)) >= self.slack / 2:
            self.spread(self.by_odometry(self.pose.motion_to(pose)))
            self.pose = pose
        self.still += seconds
        if math.dist((pose.x, pose.y), (self.stop.x, self.stop.y)) > self.slack / 10:
            self.stop, self.still = pose, 0.0
        return STANDING if self.still > STILL else 1.0

    def by_odometry(self, motion):
        """A bell around where it went, or around a ring where it is not known which way it looks."""

        def weigh(place, to):
            known = not math.isnan(self.yaw[place])
            drift = math.hypot(DRIFT, self.belief.yaw_std) if known else DRIFT
            std = math.hypot(self.slack / 2, drift * motion.distance)
            east, north = self.xy(place)
            ring = motion.distance
            if known:
                ring, yaw = 0.0, self.yaw[place]
                east += math.cos(yaw) * motion.ahead - math.sin(yaw) * motion.left
                north += math.sin(yaw) * motion.ahead + math.cos(yaw) * motion.left
            off = math.dist((east, north), self.xy(to))
            turned = math.remainder(self.yaw[to] - self.yaw[place] - motion.turn, 2 * math.pi)
            if abs(turned) > SAME_VIEW:
                return 1e-12 if off <= ring + 3 * std else 0.0
            return math.exp(-0.5 * ((off - ring) / std) ** 2) + 1e-12 if off <= ring + 3 * std else 0.0

        return weigh

    def spread(self, weigh):
        before, self.p = self.p, np.zeros(len(self.map))
        for place in np.flatnonzero(before):
            shares = np.array([weigh(place, to) for to in range(len(self.map))])
            if shares.sum() > 0:
                self.p += before[place] * shares / shares.sum()
            else:
                self.lost += before[place]

    def xy(self, place):
        return tuple(self.map.enu[place, :2])


@dataclass(frozen=True)
class Look:
    """An image, as the filter sees it."""

    stamp: int
    pose: Pose | None
    places: np.ndarray
    scores: np.ndarray


def step(sequence, stamp, pose, places, look):
    """Take one image: its time, then what it shows."""
    sequence.predict(stamp, pose)
    return sequence.update(places, look)


def take(sequence, look):
    return step(sequence, look.stamp, look.pose, look.places, lambda places: look.scores[places])


def per_place(hypotheses, count):
    """Return what each place of the map is believed, where every place is a hypothesis of its own."""
    p = np.zeros(count)
    for each in hypotheses.ranked:
        (place,) = each.places
        p[place] = each.probability
    return p


metres = st.integers(-150, 150)
waits = st.one_of(
    st.sampled_from([0, SECOND // 30, SECOND, int(FORGET * SECOND), int(FORGET * SECOND) + 1, -1]),
    st.integers(0, 8 * SECOND),
)


@st.composite
def some_drives(draw):
    """Draw a map of few places, and images with scores and odometry that mean nothing."""
    xy = draw(st.lists(st.tuples(metres, metres), min_size=1, max_size=9, unique=True))
    known = draw(st.booleans())
    heading = [draw(st.integers(0, 359)) if known else math.nan for _ in xy]
    place_map = a_map([[*each, 0] for each in xy], heading, spacing=draw(st.sampled_from([0.0, 5.0, 30.0])))
    driving = draw(st.booleans())  # else there is no odometry
    stamp, x, y, looks = 10**18, 0.0, 0.0, []
    for _ in range(draw(st.integers(1, 7))):
        stamp += draw(waits)
        x, y = x + draw(st.sampled_from([0.0, 0.1, 3.0, 12.0, 40.0])), y + draw(st.sampled_from([0.0, -7.0]))
        pose = Pose(x, y, draw(st.floats(-3, 3))) if driving and draw(st.integers(0, 9)) else None
        order = draw(st.permutations(range(len(xy))))
        places = np.array(order[: draw(st.integers(1, len(xy)))])
        scores = np.array([draw(st.floats(-3, 6)) for _ in xy])
        looks.append(Look(stamp, pose, places, scores))
    dynamics = Dynamics(
        max_speed=draw(st.sampled_from([1.0, 15.0, 60.0])),
        leave=draw(st.sampled_from([0.02, 0.5])),
        enter=draw(st.sampled_from([0.01, 0.2])),
        look=draw(st.sampled_from([0.5, 3.0])),
        sharpness=draw(st.sampled_from([0.3, 1.0, 2.0])),
        lost_score=draw(st.sampled_from([-1.0, 2.0])),
    )
    return place_map, dynamics, looks


@settings(max_examples=200, deadline=None)
@given(some_drives())
def test_it_is_the_bayes_filter_of_its_docstring(drive):
    place_map, dynamics, looks = drive
    belief = replace(APART, yaw_std=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence_filter, "LEAST", 0.0)  # nothing is given up: the equations do not
        patch.setattr(sequence_filter, "SHOWN", 0.0)
        sequence, dense = SequenceFilter(place_map, belief, dynamics), Dense(place_map, belief, dynamics)
        for look in looks:
            hypotheses = take(sequence, look)
            dense.step(look.stamp, look.pose, look.places, look.scores)
            assert per_place(hypotheses, len(place_map)) == pytest.approx(dense.p, abs=1e-9)
            assert hypotheses.none == pytest.approx(dense.lost, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(some_drives())
def test_probabilities_sum_to_one_with_none(drive):
    place_map, dynamics, looks = drive
    sequence = SequenceFilter(place_map, Belief(), dynamics)
    for look in looks:
        hypotheses = take(sequence, look)
        probabilities = [each.probability for each in hypotheses.ranked]
        assert probabilities
        assert all(0 <= p <= 1 for p in [*probabilities, hypotheses.none])
        assert math.isclose(sum(probabilities) + hypotheses.none, 1, abs_tol=1e-9)
        assert probabilities == sorted(probabilities, reverse=True)


@settings(max_examples=50, deadline=None)
@given(some_drives())
def test_places_given_up_change_little(drive):
    """At every image those below LEAST go: beside the equations that is nothing one would act on."""
    place_map, dynamics, looks = drive
    sequence, dense = SequenceFilter(place_map, APART, dynamics), Dense(place_map, APART, dynamics)
    for number, look in enumerate(looks, 1):
        hypotheses = take(sequence, look)
        dense.step(look.stamp, look.pose, look.places, look.scores)
        # what was given up may come to weigh more by as much as an image can say
        most = np.exp(dynamics.sharpness * (look.scores.max() - dynamics.lost_score)).clip(1)
        tolerance = SHOWN + LEAST * most**number
        assert per_place(hypotheses, len(place_map)) == pytest.approx(dense.p, abs=tolerance)


@settings(max_examples=60, deadline=None)
@given(some_drives(), st.floats(-5, 5))
def test_only_how_far_scores_lie_above_the_lost_score_counts(drive, shift):
    place_map, dynamics, looks = drive
    first = SequenceFilter(place_map, APART, dynamics)
    second = SequenceFilter(place_map, APART, replace(dynamics, lost_score=dynamics.lost_score + shift))
    for look in looks:
        one = take(first, look)
        other = take(second, replace(look, scores=look.scores + shift))
        assert one.none == pytest.approx(other.none, abs=1e-5)


def test_what_is_given_up_is_lost():
    """Of three thousand places that are as likely, a thousand are followed; the others may still be right."""
    place_map = a_map(in_a_row(3000, 0.05), spacing=0.05)
    sequence = SequenceFilter(place_map, APART, replace(FITTED, max_speed=200.0, leave=1e-9, enter=1e-9))
    scores = np.zeros(3000)
    scores[1500] = 20.0
    take(sequence, Look(0, None, np.array([1500]), scores))
    level = np.full(3000, FITTED.lost_score)
    assert take(sequence, Look(SECOND, None, np.array([0]), level)).none == pytest.approx(2 / 3, abs=0.01)
    # and an image that says nothing changes nothing
    assert take(sequence, Look(SECOND, None, np.array([0]), level)).none >= 2 / 3 - 0.01


@pytest.mark.parametrize("rate", [1, 30])
def test_it_finds_itself_in_a_large_map_at_any_frame_rate(rate):
    """What enters a place is little where there are many places, and less where there are many images."""
    count = 20_000
    town = Town(a_map(in_a_row(count, 2.0), np.full(count, 90.0), spacing=2.0), 0)
    dynamics = replace(FITTED, sharpness=2.0, lost_score=3.0)

    def scores(right):
        drawn = town.rng.normal(0, 1, count)
        drawn[right - 2 : right + 3] = town.rng.normal(6, 1)
        return drawn

    town.scores = scores
    robot = Robot(town, dynamics, k=20)
    robot.drive(100 + np.arange(5 * rate) * 5 // rate, seconds=1 / rate)
    elsewhere = 15_000 + np.arange(12 * rate) * 5 // rate
    answers = robot.drive(elsewhere, seconds=1 / rate)
    assert off(town, answers, elsewhere)[-1] <= 15
    assert answers[-1].none < 0.1


def test_never_are_more_than_the_most_followed():
    place_map = a_map(in_a_row(3 * MOST, 0.1), spacing=0.1)
    sequence = SequenceFilter(place_map, APART, Dynamics(max_speed=100.0))
    asked = []
    scores = np.full(len(place_map), 2.5)
    scores[:50] = 4.0

    def look(places):
        asked.append(len(places))
        return scores[places]

    for second in range(4):
        hypotheses = step(sequence, second * SECOND, None, np.arange(50), look)
        total = sum(each.probability for each in hypotheses.ranked) + hypotheses.none
        assert total == pytest.approx(1)
        assert len(hypotheses.ranked) <= MOST
    assert max(asked) < 2 * MOST + 50  # the thousand, and those within reach of the last of them
    assert hypotheses.ranked[0].places[0] < 50  # it is the best that are kept


# --- drives


class Town:
    """Images of places: what each looks like to the filter, drawn anew for every image."""

    def __init__(self, place_map, seed, twins=None):
        self.map = place_map
        self.rng = np.random.default_rng(seed)
        self.twins = twins or {}

    def scores(self, right):
        """N(0, 0.8) for every place, N(2.5, 1) for the right one; a twin looks as right as the right one."""
        scores = self.rng.normal(0, 0.8, len(self.map))
        if right is not None:
            scores[right] = self.rng.normal(2.5, 1.0)
            if right in self.twins:  # and every other time it looks better
                scores[self.twins[right]] = scores[right] + self.rng.normal(0, 0.2)
        return scores


class Robot:
    """One that looks at a town through the filter."""

    def __init__(self, town, dynamics=FITTED, belief=None, k=10):
        self.town, self.k = town, k
        self.filter = SequenceFilter(town.map, belief or Belief(), dynamics)
        self.stamp = 10**18
        self.asked = []
        self.single = []  # the place that each image speaks for most

    def look(self, right, pose=None, seconds=1.0):
        """Take an image at a place, or off the map, some time after the last; return the hypotheses."""
        self.stamp += round(seconds * SECOND)
        scores = self.town.scores(right)
        places = np.argsort(-scores)[: self.k]
        self.single.append(int(places[0]))
        return step(self.filter, self.stamp, pose, places, lambda asked: self._scores(scores, asked))

    def _scores(self, scores, places):
        self.asked.append(len(places))
        return scores[places]

    def drive(self, rights, poses=None, seconds=1.0):
        return [
            self.look(right, poses[number] if poses else None, seconds) for number, right in enumerate(rights)
        ]


def off(town, hypotheses, rights):
    """Return how far each best hypothesis is from where the robot was."""
    found = np.array([each.ranked[0].enu[:2] for each in hypotheses])
    return np.linalg.norm(found - town.map.enu[rights, :2], axis=1)


def best(hypotheses):
    return np.array([each.ranked[0].probability for each in hypotheses])


def none(hypotheses):
    return np.array([each.none for each in hypotheses])


def poses_along(xy, yaw=None):
    """Return what odometry says on the way through these points, beginning anywhere, looking ahead."""
    xy = np.asarray(xy, float)[:, :2]
    if yaw is None:
        ahead = np.diff(xy, axis=0)
        yaw = np.arctan2(ahead[:, 1], ahead[:, 0])
        yaw = np.append(yaw, yaw[-1])
    turned, start = np.exp(0.7j), 40 - 25j
    moved = (xy @ np.array([1, 1j]) - complex(*xy[0])) * turned + start
    return [Pose(at.real, at.imag, float(angle) + 0.7) for at, angle in zip(moved, yaw, strict=True)]


def street(count=200, headings=90.0):
    return a_map(in_a_row(count), np.full(count, headings), spacing=10.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_drive_is_followed_where_single_images_err(seed):
    town = Town(street(), seed)
    robot = Robot(town)
    rights = np.arange(20, 100)
    answers = robot.drive(rights)
    followed = off(town, answers, rights)[5:] <= 20
    alone = np.abs(np.array(robot.single) - rights)[5:] <= 2
    assert alone.mean() < 0.8
    assert followed.mean() > 0.85
    assert followed.mean() > alone.mean() + 0.1
    # and where it is sure, it is right
    sure = best(answers)[5:] > 0.95
    assert sure.mean() > 0.3
    assert followed[sure].mean() > 0.97


@pytest.mark.parametrize("with_odometry", [False, True])
def test_of_two_streets_that_look_the_same_it_keeps_to_the_one_it_came_by(with_odometry):
    """It came by places of one street alone; in the twins every other image speaks for the wrong one."""
    along, beside = in_a_row(100), in_a_row(100, north=500.0)[60:]
    place_map = a_map(np.concatenate([along, beside]), np.full(140, 90.0), spacing=10.0)
    rights = np.arange(40, 100)
    poses = poses_along(place_map.enu[rights]) if with_odometry else None
    alone, followed, near = [], [], []
    for seed in range(10):
        town = Town(place_map, seed, {60 + n: 100 + n for n in range(40)})
        robot = Robot(town)
        answers = robot.drive(rights, poses)
        alone.append(np.mean([place >= 100 for place in robot.single[20:]]))
        followed.append(np.mean([each.ranked[0].places[0] >= 100 for each in answers[20:]]))
        near.append((off(town, answers, rights)[20:] <= 25).mean())
    assert 0.35 < np.mean(alone) < 0.6
    assert np.mean(followed) < 0.06
    assert np.mean(near) > 0.9
    if with_odometry:
        assert max(followed) <= 0.1


@pytest.mark.parametrize("seed", range(4))
def test_between_twins_from_the_start_it_is_not_sure(seed):
    """Nothing tells them apart: both stay possible, with probabilities that leave it open."""
    along, beside = in_a_row(60), in_a_row(60, north=500.0)
    twins = {n: 60 + n for n in range(60)}
    town = Town(a_map(np.concatenate([along, beside]), spacing=10.0), seed, twins)
    town.scores = lambda right: _same_twice(Town.scores(town, right))
    answers = Robot(town).drive(range(30))
    assert best(answers).max() < 0.55
    assert none(answers)[10:].mean() < 0.5


def _same_twice(scores):
    """As of two streets that are the same in every image, not only as a rule."""
    half = len(scores) // 2
    scores[half:] = scores[:half]
    return scores


@pytest.mark.parametrize("seed", range(4))
def test_carried_elsewhere_it_finds_itself_within_a_few_looks(seed):
    town = Town(street(), seed)
    robot = Robot(town)
    robot.drive(range(20, 50))
    rights = np.arange(140, 170)
    answers = robot.drive(rights)
    there = off(town, answers, rights) <= 20
    assert np.flatnonzero(there)[0] <= 8
    assert there[8:].mean() > 0.8
    sure = best(answers) > 0.95
    assert there[sure].mean() > 0.95
    assert sure.any()


@pytest.mark.parametrize("seed", range(4))
def test_off_the_map_none_rises_and_comes_down_after_it(seed):
    town = Town(street(), seed)
    robot = Robot(town)
    robot.drive(range(20, 50))
    unmapped = none(robot.drive([None] * 20))
    assert (unmapped[3:] > 0.5).all()
    assert unmapped[5:].mean() > 0.9
    again = none(robot.drive(range(70, 100)))
    assert again[8:].mean() < 0.4
    assert again.min() < 0.05


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_odometry", [False, True])
def test_a_loop_has_no_seam(seed, with_odometry):
    """Its first and last places are neighbours on the ground, however far apart by number."""
    angle = np.arange(80) * 2 * np.pi / 80
    ring = np.column_stack([127 * np.cos(angle), 127 * np.sin(angle), 0 * angle])
    town = Town(a_map(ring, -np.degrees(angle), spacing=10.0), seed)
    rights = np.arange(50, 140) % 80
    poses = poses_along(ring[rights], angle[rights] + np.pi / 2) if with_odometry else None
    answers = Robot(town).drive(rights, poses)
    around = slice(20, 45)  # the seam comes at 30
    assert (off(town, answers, rights)[around] <= 20).mean() > 0.9
    assert np.median(best(answers)[around]) > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_the_route_may_be_driven_in_reverse_order(seed):
    town = Town(street(), seed)
    rights = np.arange(100, 40, -1)
    assert (off(town, Robot(town).drive(rights), rights)[5:] <= 20).mean() > 0.8
    # with odometry: in reverse gear, looking the way that the map was seen
    backwards = poses_along(town.map.enu[rights], np.zeros(len(rights)))
    assert backwards[0].motion_to(backwards[1]).ahead == pytest.approx(-10)
    assert (off(town, Robot(town).drive(rights, backwards), rights)[5:] <= 20).mean() > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_with_odometry_it_is_surer(seed):
    town, again = Town(street(), seed), Town(street(), seed)
    rights = np.arange(20, 100)
    blind = Robot(town).drive(rights)
    led = Robot(again).drive(rights, poses_along(town.map.enu[rights]))
    assert best(led)[5:].mean() > best(blind)[5:].mean()
    assert (off(town, led, rights)[5:] <= 20).mean() > 0.95


def both_ways(seed):
    """A street that the map has in both directions, which look the same."""
    there = in_a_row(60)
    heading = np.repeat([90.0, 270.0], 60)
    town = Town(a_map(np.concatenate([there, there]), heading, spacing=10.0), seed)
    town.scores = lambda right: _same_twice(Town.scores(town, right))
    return town


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("eastwards", [True, False])
def test_odometry_tells_which_way_a_street_is_driven(seed, eastwards):
    rights = np.arange(10, 50) if eastwards else np.arange(50, 10, -1)
    town = both_ways(seed)
    answers = Robot(town).drive(rights, poses_along(town.map.enu[rights]))
    for each in answers[10:]:
        share = sum(h.probability for h in each.ranked if (abs(h.yaw) < math.pi / 2) == eastwards)
        assert share >= 0.9 * (1 - each.none)
    # and without it, nothing does
    town = both_ways(seed)
    answers = Robot(town).drive(rights)
    shares = [sum(h.probability for h in each.ranked if abs(h.yaw) < math.pi / 2) for each in answers[10:]]
    assert shares == pytest.approx([(1 - each.none) / 2 for each in answers[10:]], abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_odometry_without_headings_goes_either_way(seed, step):
    """The distance alone is worth something, whichever way the street was driven before."""
    town = Town(street(headings=math.nan), seed)
    rights = np.arange(100, 100 + 60 * step, step)
    answers = Robot(town).drive(rights, poses_along(town.map.enu[rights]))
    assert (off(town, answers, rights)[5:] <= 20).mean() > 0.9
    assert all(math.isnan(each.ranked[0].yaw) for each in answers)


def test_without_headings_the_weight_lies_on_a_ring():
    """Places every 5 m around one that it is at: 50 m on, by odometry, it is 50 m off, in any direction."""
    east, north = (axis.ravel() for axis in np.meshgrid(np.arange(-16, 17) * 5.0, np.arange(-16, 17) * 5.0))
    place_map = a_map(np.column_stack([east, north, 0 * east]), spacing=5.0)
    centre = len(place_map) // 2
    sequence = SequenceFilter(place_map, APART, replace(FITTED, leave=1e-9, enter=1e-9))
    scores = np.zeros(len(place_map))
    scores[centre] = 12.0
    step(sequence, 0, Pose(3, 4, 0.1), np.array([centre]), lambda places: scores[places])
    level = np.full(len(place_map), FITTED.lost_score)  # an image that says nothing
    answer = step(sequence, SECOND, Pose(53, 4, 0.1), np.array([centre]), lambda places: level[places])
    where = np.array([[*each.enu[:2], each.probability] for each in answer.ranked])
    metres, weight = np.hypot(where[:, 0], where[:, 1]), where[:, 2]
    assert weight @ metres / weight.sum() == pytest.approx(50, abs=2)
    assert weight[metres < 30].sum() < 0.01
    for quadrant in (where[:, 0] > 0, where[:, 0] < 0, where[:, 1] > 0, where[:, 1] < 0):
        assert weight[quadrant].sum() == pytest.approx(0.5, abs=0.07)


def test_with_headings_the_weight_lies_ahead():
    place_map = street(41)
    sequence = SequenceFilter(place_map, APART, replace(FITTED, leave=1e-9, enter=1e-9))
    scores = np.zeros(41)
    scores[20] = 12.0
    step(sequence, 0, Pose(3, 4, 0.1), np.array([20]), lambda places: scores[places])
    level = np.full(41, FITTED.lost_score)
    there = Pose(3 + 50 * math.cos(0.1), 4 + 50 * math.sin(0.1), 0.1)
    answer = step(sequence, SECOND, there, np.array([20]), lambda places: level[places])
    where = per_place(answer, 41)
    assert where @ np.arange(41) / where.sum() == pytest.approx(25, abs=0.1)
    # 50 m by odometry are known to a third of them, by the yaw of views alone
    std = math.sqrt(where @ (np.arange(41) - 25.0) ** 2 / where.sum()) * 10
    assert std == pytest.approx(math.hypot(6, 50 * math.hypot(DRIFT, APART.yaw_std)), rel=0.1)


@pytest.mark.parametrize(("turn", "heading"), [(math.pi / 2, 0.0), (-math.pi / 2, 180.0), (0.0, 90.0)])
def test_after_a_bend_it_looks_the_other_way(turn, heading):
    """On one spot are places that look north, south, east and west: odometry knows which one it is."""
    enu = [[0, 0, 0], *([[20, 0, 0]] * 4)]
    place_map = a_map(enu, [90, 0, 180, 90, 270], spacing=10.0)
    sequence = SequenceFilter(place_map, Belief(cluster_radius=1.0), FITTED)
    scores = np.array([12.0, 0, 0, 0, 0])
    step(sequence, 0, Pose(3, 4, 1.0), np.array([0]), lambda places: scores[places])
    there = Pose(3 + 20 * math.cos(1.0), 4 + 20 * math.sin(1.0), 1.0 + turn)
    level = np.full(5, FITTED.lost_score)
    answer = step(sequence, SECOND, there, np.array([0]), lambda places: level[places])
    believed = {
        float(place_map.places["heading"][place]): each.probability
        for each in answer.ranked
        for place in each.places
        if place
    }
    assert believed[heading] == max(believed.values()) > 0.2
    opposite = (heading + 180) % 360
    assert believed.get(opposite, 0.0) < 1e-3


# --- standing still


def standing(seconds, poses, score=2.0):
    """Return the probability of the best place while the same image comes again and again, at 5 Hz."""
    sequence = SequenceFilter(street(), Belief(), FITTED)
    scores = np.zeros(200)
    scores[30] = score
    probability = []
    for number in range(int(seconds * 5) + 1):
        answer = step(
            sequence, number * SECOND // 5, poses(number), np.array([30]), lambda places: scores[places]
        )
        probability.append(answer.ranked[0].probability)
    return np.array(probability)


def odds(probability):
    return np.log(probability / (1 - probability))


def test_standing_still_the_same_image_again_is_worth_little():
    still = standing(6, lambda number: Pose(1.0, 2.0, 0.5))
    gains = np.diff(odds(still))
    # of (2.0 - 1.2) * 3 a second, less what leaves the map and more what enters it
    assert gains[: int(STILL * 5) - 1] == pytest.approx(0.2 * 0.8 * 3, abs=0.06)
    assert gains[int(STILL * 5) + 1 :] == pytest.approx(0.2 * STANDING * 0.8 * 3, abs=0.05)


@pytest.mark.parametrize("stop", [0.0, 1.5, 3.0, 4.5, 5.9])
def test_wherever_it_stops_it_stands(stop):
    """Some metres past the place that motion was last passed on from, too."""
    poses = [Pose(min(number * 1.5, stop), 0.0, 0.0) for number in range(61)]
    gains = np.diff(odds(standing(12, lambda number: poses[number])))
    assert gains[int(STILL * 5) + 10 :].max() < 0.2 * STANDING * 0.8 * 3 + 0.05


def test_wheels_that_tremble_stand():
    rng = np.random.default_rng(0)
    trembling = standing(10, lambda number: Pose(*rng.normal(0, 0.02, 2), 0.0))
    still = standing(10, lambda number: Pose(0.0, 0.0, 0.0))
    assert trembling == pytest.approx(still)


def test_odometry_that_comes_back_says_nothing_of_the_time_before():
    """It may have moved meanwhile: images count in full until it has been seen to stand."""
    poses = [Pose(1.0, 2.0, 0.5)] * 40
    poses[20] = None
    gains = np.diff(odds(standing(7.5, lambda number: poses[number])))
    assert gains[19] < 0.06  # odds after 20, less those after 19
    assert gains[22:28].min() > 0.3
    assert gains[34:].max() < 0.1


def test_less_than_half_the_way_to_the_next_place_waits():
    """And is not forgotten: it counts with what follows it."""
    sequence = SequenceFilter(street(41), APART, replace(FITTED, leave=1e-9, enter=1e-9))
    scores = np.zeros(41)
    scores[20] = 12.0
    level = np.full(41, FITTED.lost_score)
    step(sequence, 0, Pose(0, 0, 0), np.array([20]), lambda places: scores[places])
    believed = []
    for number, x in enumerate((5.9, 6.1, 11.9, 12.3), 1):
        answer = step(sequence, number * SECOND, Pose(x, 0, 0), np.array([20]), lambda places: level[places])
        believed.append(per_place(answer, 41))
    assert believed[0][20] > 0.99
    assert believed[0][:20].sum() + believed[0][21:].sum() == 0
    assert believed[1][21] > believed[1][19] > 0  # and a bell around 6.1 m
    assert believed[2] == pytest.approx(believed[1], abs=1e-6)
    assert believed[3] @ np.arange(41) == pytest.approx(20 + 1.23, abs=0.1)


def test_a_slow_robot_does_not_stand():
    """At walking pace, between two places, every image is worth as much as without odometry."""
    town = Town(street(), 0)
    robot = Robot(town)
    poses = [Pose(0.2 * number, 0.0, 0.0) for number in range(40)]
    weights = []
    update = robot.filter._update_weights
    robot.filter._update_weights = lambda evidence, look: weights.append(evidence) or update(evidence, look)
    robot.drive([30 + round(0.02 * number) for number in range(40)], poses, seconds=0.2)
    assert weights[1:] == pytest.approx([0.2] * 39)


def test_equal_stamps_are_no_new_evidence():
    """However often an image comes, it is one image."""
    sequence = SequenceFilter(street(), APART, FITTED)
    scores = np.zeros(200)
    scores[30] = 3.0
    look = Look(SECOND, None, np.array([30, 31]), scores)
    first = take(sequence, look)
    for _ in range(5):
        again = take(sequence, look)
        assert again.none == pytest.approx(first.none, abs=1e-4)
        assert per_place(again, 200)[30] <= per_place(first, 200)[30] + 1e-9


@pytest.mark.parametrize("rate", [2, 10, 30])
def test_evidence_is_by_the_second_and_not_by_the_image(rate):
    """Ten seconds of the same place are worth the same at any rate, from two images a second on."""
    sequence = SequenceFilter(a_map([[0, 0, 0]], spacing=0.0), APART, replace(FITTED, leave=1e-9, enter=1e-9))
    answers = [
        take(sequence, Look(n * SECOND // rate, None, np.array([0]), np.array([0.9])))
        for n in range(10 * rate + 1)
    ]
    lost = answers[-1].none / answers[-1].ranked[0].probability
    assert math.log(lost) == pytest.approx(11 * 3.0 * 0.3, rel=0.01)


# --- forgetting


def confident(seconds):
    """Return a robot that knows where it is, and its answer to an image like no place at all after that."""
    town = Town(street(), 3)
    robot = Robot(town)
    sure = robot.drive(range(20, 50))[-1]
    town.scores = lambda right: np.full(200, FITTED.lost_score)
    return robot, sure, robot.look(50, seconds=seconds)


@pytest.mark.parametrize("seconds", [FORGET + 0.001, 1000.0, -0.001, -1000.0])
def test_a_gap_or_a_clock_that_jumps_backwards_forgets(seconds):
    robot, sure, after = confident(seconds)
    assert sure.none < 0.1
    fresh = SequenceFilter(robot.town.map, Belief(), FITTED)
    places = np.argsort(-robot.town.scores(None))[: robot.k]
    expected = step(fresh, 0, None, places, lambda asked: robot.town.scores(None)[asked])
    assert after.none == expected.none == pytest.approx(1 - ON_MAP * 10 / 200)
    assert after.ranked[0].probability == expected.ranked[0].probability


def test_a_shorter_gap_does_not_forget():
    _, sure, after = confident(5.0)
    assert after.none < 0.3
    within = [h for h in after.ranked if abs(h.enu[0] - sure.ranked[0].enu[0]) <= 5 * 15 + 12 + 15]
    assert sum(h.probability for h in within) > 0.7


def test_reset_forgets():
    town = Town(street(), 3)
    robot = Robot(town)
    robot.drive(range(20, 50))
    robot.filter.reset()
    town.scores = lambda right: np.full(200, FITTED.lost_score)
    assert robot.look(50).none == pytest.approx(1 - ON_MAP * 10 / 200)


def test_after_forgetting_odometry_goes_on_from_where_it_is():
    """The way driven before, or during a gap, is not taken for the way from one image to the next."""
    town = Town(street(), 1)
    robot = Robot(town, k=1)
    town.scores = lambda right: np.where(np.arange(200) == right, 9.0, -2.0)
    robot.look(20, Pose(0.0, 0.0, 0.0))
    robot.look(100, Pose(800.0, 0.0, 0.0), seconds=FORGET + 1)
    answer = robot.look(101, Pose(810.0, 0.0, 0.0))
    assert answer.ranked[0].enu[0] == pytest.approx(1010, abs=1)
    assert answer.ranked[0].probability > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_odometry_may_fail_for_a_while(seed):
    town = Town(street(), seed)
    rights = np.arange(20, 80)
    poses = poses_along(town.map.enu[rights])
    for number in (*range(20, 30), 41, 43):
        poses[number] = None
    answers = Robot(town).drive(rights, poses)
    assert (off(town, answers, rights)[5:] <= 20).mean() > 0.85


# --- odd maps


@pytest.mark.parametrize("with_odometry", [False, True])
@pytest.mark.parametrize("heading", [0.0, math.nan])
def test_a_map_of_one_place(heading, with_odometry):
    place_map = a_map([[3.0, 4.0, 5.0]], [heading], spacing=0.0)
    sequence = SequenceFilter(place_map, Belief(), FITTED)
    for number in range(5):
        pose = Pose(0.3 * number, 0.0, 0.0) if with_odometry else None
        answer = take(sequence, Look(number * SECOND, pose, np.array([0]), np.array([4.0])))
    assert answer.ranked[0].enu == pytest.approx([3, 4, 5])
    assert answer.ranked[0].probability > 0.9
    for number in range(5, 12):
        pose = Pose(0.3 * number, 0.0, 0.0) if with_odometry else None
        answer = take(sequence, Look(number * SECOND, pose, np.array([0]), np.array([-2.0])))
    assert answer.none > 0.9


def test_driving_off_the_end_of_the_map_by_odometry_is_being_lost():
    """There is no place where it went: what it believed is not kept where it was."""
    sequence = SequenceFilter(street(5), Belief(yaw_std=0.05), FITTED)
    scores = np.zeros(5)
    scores[4] = 8.0
    step(sequence, 0, Pose(0, 0, 0), np.array([4]), lambda places: scores[places])
    level = np.full(5, FITTED.lost_score)
    answer = step(sequence, SECOND, Pose(300, 0, 0), np.array([0]), lambda places: level[places])
    assert answer.none > 0.9


def test_places_on_one_spot():
    """A robot that stood while the map was recorded."""
    place_map = a_map(np.zeros((30, 3)), np.zeros(30), spacing=0.0, geotag_std=0.5)
    town = Town(place_map, 0)
    answers = Robot(town).drive([5] * 10)
    assert len(answers[-1].ranked) == 1
    assert answers[-1].ranked[0].probability > 0.9


# --- cost


def test_a_step_costs_what_is_within_reach_and_not_what_the_map_holds():
    """Of ten times the places, no more are looked at."""
    asked = []
    for count in (1500, 15_000):
        robot = Robot(Town(street(count), 7), k=5)
        robot.drive(range(40, 100))
        asked.append(np.array(robot.asked[10:]))
    assert asked[1].mean() < 1.3 * asked[0].mean()
    assert asked[1].mean() < 120


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("max_speed", "leave", "enter", "look", "sharpness", "lost_score")
        for value in (0.0, -1.0, math.nan, math.inf)
        if name != "lost_score" or not math.isfinite(value)
    ],
)
def test_dynamics_that_cannot_be(name, value):
    with pytest.raises(InputError) as caught:
        Dynamics(**{name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
