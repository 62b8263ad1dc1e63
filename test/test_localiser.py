"""The chain from a descriptor on: what is accepted, what is remembered, and what it doubts."""

import math
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from test.conftest import DATUM
from test.some_places import a_map, in_a_row
from test.test_calibration import some_calibration
from vpr_ros.calibration import NEVER, Acceptance, Step, write_calibration
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_geodetic
from vpr_ros.hypotheses import Belief, gather
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.localiser import Localiser, Settings, open_localiser, thresholds
from vpr_ros.maps.manifest import Spread
from vpr_ros.maps.resident import ResidentMap
from vpr_ros.odometry import Pose
from vpr_ros.prior import Prior
from vpr_ros.sequence_filter import Dynamics

PLACES, SECOND = 60, 10**9
#: Accepts above one level single images, and above another what the filter says.
CALIBRATION = some_calibration(
    belief=Belief(temperature=0.5, covariance_scale=0.7),
    dynamics=Dynamics(sharpness=3.0, lost_score=1.2),
    single=Acceptance((Step(0.5, 1000, 100), Step(0.9, 500, 1))),
    filtered=Acceptance((Step(0.6, 1000, 1),)),
)
UNPROMISING = some_calibration(single=Acceptance((Step(0.5, 3, 0),)), filtered=Acceptance((Step(0.5, 3, 0),)))


class Encoder:
    """Stands for an engine: an image of one pixel is the place that it shows most, and how much."""

    device = torch.device("cpu")

    def encode_one(self, image, meanwhile):
        meanwhile(None)
        return descriptor(*image.pixels[0, 0, :2])


class Uneven(Encoder):
    """Gives no two places the same score; may have the descriptor where it is searched for at once."""

    def __init__(self, there):
        self._there = there

    def encode_one(self, image, meanwhile):
        encoded = descriptor(*image.pixels[0, 0, :2]) + 0.01 * np.arange(PLACES, dtype=np.float32)
        meanwhile(torch.from_numpy(encoded) if self._there else None)
        return encoded


class Behind(ResidentMap):
    """Stands for one on a GPU, whose graphs are launched behind the encoding."""

    def __init__(self, place_map):
        super().__init__(place_map.blocks(), place_map.shape, torch.device("cpu"))
        self.asked, self.looked = [], 0

    def _graph_of(self, k):
        behind = self

        class Graph:
            def ask(self, query, named):
                behind.asked.append(named.tolist())
                (similarities,), (places,) = behind._nearest(query[None], k)
                of_named = behind._compare(query, torch.from_numpy(named))
                self.answers = similarities.numpy(), places.numpy(), of_named.numpy()

            def found(self):
                return self.answers

        return Graph()

    def similarities(self, descriptor, places):
        self.looked += 1
        return super().similarities(descriptor, places)


def descriptor(place, score=6.0, **others):
    """Return the descriptor with this score at a place, and others at others."""
    scores = np.zeros(PLACES, np.float32)
    scores[int(place)] = score
    for name, value in others.items():
        scores[int(name[1:])] = value
    return scores


def localiser(calibration=CALIBRATION, **settings):
    """Return one of a street eastwards whose places' descriptors are axes: descriptors are scores."""
    index = faiss.IndexFlatIP(PLACES)
    index.add(np.eye(PLACES, dtype=np.float32))
    place_map = a_map(in_a_row(PLACES), np.full(PLACES, 90.0), 1.0, 10.0, Spread(0.0, 1.0), index=index)
    return Localiser(Encoder(), place_map, calibration, Settings(**settings))


def drive(of, places, score=6.0, seconds=1.0, start=0.0):
    return [
        of.answer(descriptor(place, score), round((start + n * seconds) * SECOND))
        for n, place in enumerate(places)
    ]


# --- behind the encoding


def test_what_is_searched_for_behind_the_encoding_is_answered_like_what_is_searched_for_after_it():
    place_map = localiser().place_map
    after, behind = (
        Localiser(Uneven(there), place_map, CALIBRATION, Settings(k=5), vectors=Behind(place_map))
        for there in (False, True)
    )
    for second, place in enumerate([5, 6, 7, 9, 30, 31, 32, 33]):
        image = CameraImage(np.array([[[place, 6, 0]]], np.uint8))
        prior = prior_at(9, 30.0) if second == 3 else None
        expected, answer = (each.localise(image, second * SECOND, prior=prior) for each in (after, behind))
        for one, other in ((expected.single, answer.single), (expected.filtered, answer.filtered)):
            assert other.none == pytest.approx(one.none, abs=1e-6)
            assert [each.places for each in other.ranked] == [each.places for each in one.ranked]
    asked, looked = behind.vectors.asked, behind.vectors.looked
    assert after.vectors.looked == 8
    assert asked[0] == [] and len(asked) == 7 and max(map(len, asked)) > 5  # noqa: PT018
    assert looked == 1  # with the prior, which restricts the search


def test_more_places_than_are_compared_behind_the_encoding_are_looked_at_after_it():
    one = localiser(k=5)
    vectors = Behind(one.place_map)
    for named, known in ((np.arange(40), True), (np.arange(40).repeat(10), False)):
        found = vectors.ask(torch.from_numpy(descriptor(50)), 5, named)()
        assert found.places[0] == 50
        assert found.look(found.places) is not None
        seen = found.look(np.arange(30))
        assert (seen is not None) == known
        assert seen is None or seen == pytest.approx(descriptor(50)[:30], abs=1e-3)
        assert found.look(np.array([45])) is None
        assert len(found.look(np.empty(0, np.int64))) == 0


# --- with and without the filter


def test_without_the_filter_each_image_is_answered_alone():
    one = localiser(filter=False)
    assert not one.filters
    answer, again = drive(one, [5, 5])
    assert answer.filtered is None
    assert answer.hypotheses is answer.single
    assert answer.single.none == again.single.none
    assert set(answer.seconds) == {"search", "hypotheses"}


def test_the_filter_takes_the_images_before_into_account():
    one = localiser()
    assert one.filters
    first, *_, last = drive(one, range(5, 12), score=3.0)
    assert last.hypotheses is last.filtered
    assert last.filtered.none < first.filtered.none - 0.1
    assert last.filtered.ranked[0].places[0] == 11
    # and the image alone is answered beside it, as without the filter
    alone = localiser(filter=False).answer(descriptor(11, 3.0), 0)
    assert last.single.none == alone.single.none
    assert set(last.seconds) == {"search", "hypotheses", "filter"}


def test_an_image_alone_is_gathered_by_the_calibrations_belief():
    answer = localiser(filter=False).answer(descriptor(7, 4.0), 0)
    one = localiser()
    scores = one.place_map.scores(descriptor(7, 4.0), np.arange(PLACES))
    order = np.argsort(-scores, kind="stable")[: Settings.k]
    expected = gather(scores[order], order, one.place_map, CALIBRATION.belief)
    assert answer.single.none == pytest.approx(expected.none)
    best = answer.single.ranked[0]
    assert best.covariance == pytest.approx(expected.ranked[0].covariance)
    default = gather(scores[order], order, one.place_map, Belief())
    assert answer.single.none != pytest.approx(default.none)


def test_it_retrieves_as_many_places_as_it_is_told():
    for k in (1, 7):
        answer = localiser(filter=False, k=k).answer(descriptor(7), 0)
        assert sum(len(each.places) for each in answer.single.ranked) == k
    assert localiser(filter=False, k=1000).answer(descriptor(7), 0).single.ranked  # more than there are


def test_the_filter_moves_by_odometry_where_it_has_one():
    """Two places look alike: the way between two images says which one it is."""
    twins = descriptor(20, 6.0, _50=6.0)
    still, moved = localiser(), localiser()
    for one, x in ((still, 0.0), (moved, 100.0)):
        one.answer(descriptor(10), 0, Pose(0.0, 0.0, 0.0))
        one.answer(descriptor(10), SECOND, Pose(0.0, 0.0, 0.0))
        answer = one.answer(twins, 8 * SECOND, Pose(x, 0.0, 0.0))
        at_20 = sum(each.probability for each in answer.filtered.ranked if abs(each.enu[0] - 200) < 20)
        assert (at_20 > 0.8) == (one is moved)


def test_max_speed_is_the_calibrations_unless_it_is_chosen():
    """At 40 m a second the next image is beyond what 15 reach."""
    slow = replace(CALIBRATION, dynamics=replace(CALIBRATION.dynamics, max_speed=15.0))
    fast = replace(CALIBRATION, dynamics=replace(CALIBRATION.dynamics, max_speed=50.0))
    for calibration, chosen, reaches in ((slow, 0.0, False), (slow, 50.0, True), (fast, 0.0, True)):
        one = localiser(calibration, max_speed=chosen)
        last = drive(one, range(0, 40, 4), score=3.0)[-1]
        assert (last.filtered.ranked[0].probability > 0.9) == reaches


def test_an_image_is_encoded_and_timed():
    image = np.array([[[9, 6, 0]]], np.uint8)
    answer = localiser().localise(CameraImage(image), 0)
    assert answer.single.ranked[0].places[0] == 9
    assert set(answer.seconds) == {"encode", "search", "hypotheses", "filter"}
    assert all(taken >= 0 for taken in answer.seconds.values())


# --- a prior position


def prior_at(place, std=10.0, stamp=None):
    """Return the prior that knows the robot to be at a place of the street, 10 m from one to the next."""
    latitude, longitude, _ = to_geodetic([10.0 * place, 0.0, 0.0], DATUM)
    return Prior(float(latitude), float(longitude), std**2, 0.0, std**2, stamp)


@pytest.mark.parametrize("filters", [False, True])
@pytest.mark.parametrize("right", [5, 55])
def test_of_two_places_that_look_alike_the_prior_says_which(filters, right):
    """They are 500 m apart, and the wrong one looks a little more like it."""
    wrong = 60 - right
    twins = descriptor(wrong, 6.1, **{f"_{right}": 6.0})
    one = localiser(filter=filters)
    assert one.answer(twins, 0).hypotheses.ranked[0].places[0] == wrong
    assert (one.prior, one.reached) == (None, PLACES)
    one.reset()
    for second in range(3):
        answer = one.answer(twins, second * SECOND, prior=prior_at(right, 30.0))
    assert answer.accepted.places[0] == right
    assert all(abs(each.enu[0] - 10 * right) < 150 for each in answer.hypotheses.ranked)
    assert one.prior == prior_at(right, 30.0)
    assert 10 < one.reached < 25
    assert one.out_of_reach() == ""
    # without one it is as it was
    one.reset()
    assert one.answer(twins, 0).hypotheses.ranked[0].places[0] == wrong


def test_where_no_place_is_within_reach_all_are_searched():
    one = localiser(filter=False)
    alone, answer = one.answer(descriptor(7), 0), one.answer(descriptor(7), 0, prior=prior_at(500))
    assert answer.accepted.places == alone.accepted.places
    assert one.reached == 0
    said = one.out_of_reach()
    assert "no place of map" in said
    assert f"{prior_at(500).longitude:.6f}" in said
    assert "\n" not in said


def test_a_wrong_prior_is_answered_and_not_believed():
    answer = localiser(filter=False).answer(descriptor(7), 0, prior=prior_at(50))
    assert all(each.enu[0] > 400 for each in answer.hypotheses.ranked)
    assert answer.hypotheses.none > 0.5
    assert answer.accepted is None


def test_places_within_reach_may_be_fewer_than_are_retrieved():
    one = localiser(filter=False)
    answer = one.answer(descriptor(7), 0, prior=prior_at(7, 1.0))
    assert one.reached == 1
    assert [each.places for each in answer.hypotheses.ranked] == [(7,)]


def test_a_prior_that_allows_all_is_none():
    searched = []

    class Searched:
        def search(self, descriptors, k, within):
            searched.append(within)
            return one.place_map.search(descriptors, k, within)

    one = localiser(filter=False)
    one.vectors = Searched()
    for prior in (None, prior_at(30, 1e4), prior_at(30, 10.0)):
        one.answer(descriptor(7), 0, prior=prior)
    assert searched[:2] == [None, None]
    assert 30 in searched[2]
    assert len(searched[2]) == one.reached < PLACES


@pytest.mark.parametrize("filters", [False, True])
def test_the_reach_of_a_prior_grows_with_max_speed(filters):
    """The calibration's, or that which is chosen, whether there is a filter or not."""
    for chosen, speed in ((0.0, CALIBRATION.dynamics.max_speed), (5.0, 5.0)):
        one = localiser(filter=filters, max_speed=chosen)
        before = prior_at(0, 1.0, stamp=10 * SECOND)
        one.answer(descriptor(0), 14 * SECOND, prior=before)
        assert one.reached == 1 + int((math.sqrt(13.816 * (1 + 1)) + 4 * speed) / 10)


# --- what is accepted


def test_an_image_alone_is_accepted_above_its_threshold_and_not_at_it():
    one = localiser(filter=False)
    assert one.threshold == 0.9
    seen = set()
    for score in np.arange(2.0, 6.0, 0.1):
        answer = one.answer(descriptor(7, score), 0)
        best = answer.single.ranked[0]
        assert (answer.accepted is best) == (best.probability > 0.9)
        seen.add(answer.accepted is None)
    assert seen == {True, False}
    exactly = answer.single.ranked[0].probability
    at = replace(CALIBRATION, single=Acceptance((Step(exactly, 1000, 0),)))
    assert localiser(at, filter=False).answer(descriptor(7, score), 0).accepted is None


def test_the_filter_is_accepted_above_a_threshold_of_its_own():
    one = localiser()
    assert one.threshold == 0.6
    answers = drive(one, range(5, 30), score=2.2)
    for answer in answers:
        best = answer.filtered.ranked[0]
        assert (answer.accepted is best) == (best.probability > 0.6)
    assert answers[0].accepted is None
    assert answers[-1].accepted is not None
    # images like these are never accepted alone
    assert all(a.accepted is None for a in drive(localiser(filter=False), range(5, 30), score=2.2))


@pytest.mark.parametrize(("best", "accepted"), [(29, True), (30, True), (33, False), (58, False)])
def test_a_sure_filter_is_accepted_only_where_the_image_alone_names_the_same_place(best, accepted):
    """Right after it was carried off: the way there is not enough."""
    one = localiser()
    *_, before = drive(one, range(5, 30), score=6.0)
    assert before.accepted.probability > 0.99
    # the image says little, and that about a place within the radius of 15 m or beyond it
    answer = one.answer(descriptor(best, 1.3), 24 * SECOND + SECOND // 10)
    assert answer.single.ranked[0].places[0] == best
    assert answer.single.ranked[0].probability < 0.5
    sure = answer.filtered.ranked[0]
    assert sure.probability > 0.6
    assert abs(sure.enu[0] - 290) < 10
    assert (answer.accepted is sure) == accepted


@pytest.mark.parametrize("precision", [0.6, 0.9, 0.99])
@pytest.mark.parametrize("filters", [False, True])
def test_uncalibrated_the_probability_is_taken_at_its_word(precision, filters):
    one = localiser(None, precision=precision, filter=filters)
    assert one.threshold == precision
    assert thresholds(None, precision) == (precision, precision)
    for score in np.arange(2.0, 12.0, 0.25):
        one.reset()
        answer = one.answer(descriptor(7, score), 0)
        best = answer.hypotheses.ranked[0]
        assert (answer.accepted is best) == (best.probability > precision)
    assert answer.accepted is not None


def test_uncalibrated_it_takes_the_defaults():
    answer = localiser(None, k=1).answer(descriptor(7), 0)
    assert localiser(None).belief == Belief()
    assert answer.single.ranked[0].covariance[0, 0] == pytest.approx(
        Belief.covariance_scale * (100 / 12 + Belief.view_std**2) + 1.0
    )


def test_more_precision_needs_a_higher_threshold():
    lax, strict = (localiser(precision=precision, filter=False) for precision in (0.8, 0.99))
    assert (lax.threshold, strict.threshold) == (0.5, 0.9)


def test_where_nothing_can_be_promised_nothing_is_accepted():
    one = localiser(UNPROMISING, precision=0.99)
    assert one.threshold == NEVER
    answers = drive(one, [5] * 20, score=50.0)
    assert answers[-1].filtered.ranked[0].probability > 0.999
    assert all(answer.accepted is None for answer in answers)


# --- what it doubts


def test_without_a_calibration_it_doubts_its_probabilities():
    said = localiser(None).doubts()
    assert "map is not calibrated" in said
    assert "training/calibrate.py" in said
    assert "\n" not in said


@pytest.mark.parametrize("filters", [False, True])
def test_where_none_will_be_accepted_it_says_why(filters):
    said = localiser(UNPROMISING, precision=0.99, filter=filters).doubts()
    assert "80 frames" in said
    assert "0.99" in said
    assert "none will be accepted" in said
    assert "lower the precision" in said
    assert "\n" not in said


def test_the_doubt_is_of_what_it_does():
    """Single images promise nothing here, and are not what it goes by."""
    mixed = replace(CALIBRATION, single=UNPROMISING.single)
    assert localiser(mixed).doubts() == ""
    assert "none will be accepted" in localiser(mixed, filter=False).doubts()


def test_calibrated_it_has_no_doubts():
    assert localiser().doubts() == ""


# --- forgetting


def test_reset_forgets_the_images_before():
    one, fresh = localiser(), localiser()
    drive(one, range(5, 20))
    one.reset()
    answer, expected = (each.answer(descriptor(40, 3.0), 16 * SECOND) for each in (one, fresh))
    assert answer.filtered.none == expected.filtered.none
    assert answer.filtered.ranked[0].places == expected.filtered.ranked[0].places


def test_reset_without_a_filter_is_nothing():
    one = localiser(filter=False)
    one.reset()
    assert one.answer(descriptor(7), 0).accepted is not None


# --- settings and files


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0}, {"k": -1}, {"precision": 0.0}, {"precision": 1.0}, {"precision": math.nan},
        {"max_speed": -1.0}, {"max_speed": math.nan},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be(wrong):
    with pytest.raises(InputError) as caught:
        Settings(**wrong)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_map_is_opened_with_its_calibration(tmp_path):
    from test.small_world import picture, small_map, small_weights

    weights = small_weights(tmp_path / "weights.safetensors")
    folder = small_map(tmp_path / "map", weights, places=4)
    opened = open_localiser(weights, folder, "cpu", Settings())
    assert opened.calibration is None
    assert str(folder) in opened.doubts()
    write_calibration(CALIBRATION, opened.place_map)
    opened = open_localiser(weights, folder, "cpu", Settings(filter=False))
    assert opened.calibration == CALIBRATION
    assert (opened.belief, opened.threshold) == (CALIBRATION.belief, 0.9)
    assert opened.localise(CameraImage(picture(2)), 0).single.ranked[0].places[0] == 2
    (folder / "calibration.json").write_text("{")
    with pytest.raises(InputError) as caught:
        open_localiser(weights, folder, "cpu", Settings())
    assert str(Path(folder) / "calibration.json") in str(caught.value)
