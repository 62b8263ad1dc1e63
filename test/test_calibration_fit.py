"""Fits to drives that are made of known numbers: they find these, and they hold on other drives."""

import math
from dataclasses import dataclass, replace

import faiss
import numpy as np
import pytest

from test.some_places import a_map, in_a_row
from training import calibrate as command
from training.calibrate import fit_calibration
from training.learning import calibration_fit as fit
from training.learning.calibration_fit import ELLIPSE_95, SURE, TRIALS, Drive
from vpr_ros.calibration import NEVER
from vpr_ros.errors import InputError
from vpr_ros.hypotheses import Belief, Hypothesis, agree
from vpr_ros.maps.manifest import Spread
from vpr_ros.sequence_filter import Dynamics

PLACES, STEP, RADIUS = 200, 10.0, 25.0
BELIEF = Belief(cluster_radius=RADIUS, covariance_scale=1.0)


@pytest.fixture(scope="module")
def place_map():
    """A street eastwards whose places' descriptors are axes: an image's descriptor is its scores."""
    index = faiss.IndexFlatIP(PLACES)
    index.add(np.eye(PLACES, dtype=np.float32))
    return a_map(
        in_a_row(PLACES, STEP),
        np.full(PLACES, 90.0),
        geotag_std=1.0,
        spacing=STEP,
        unrelated=Spread(0.0, 1.0),
        index=index,
    )


@dataclass(frozen=True)
class Maker:
    """Drives of one kind: scores of right places N(right, 1), of all others N(0, other)."""

    right: float = 3.0
    other: float = 0.8
    frames: int = 150
    unmapped: int = 0  # frames at the end, 5 km from the map
    lateral: float = 1.0
    k: int = 10

    def drive(self, place_map, seed):
        rng = np.random.default_rng(seed)
        count = self.frames + self.unmapped
        at = np.arange(self.frames) % PLACES
        scores = rng.normal(0, self.other, (count, PLACES)).astype(np.float32)
        scores[np.arange(self.frames), at] = rng.normal(self.right, 1.0, self.frames)
        on_map = place_map.enu[at, :2] + rng.normal(0, self.lateral, (self.frames, 2))
        off_map = np.column_stack([10.0 * np.arange(self.unmapped), np.full(self.unmapped, 5000.0)])
        heading = 90 + rng.normal(0, 4.0, count)
        _, retrieved = place_map.search(scores, self.k)
        stamps = np.arange(count, dtype=np.int64) * 10**9
        truth = np.concatenate([on_map, off_map])
        return Drive(stamps, scores, [None] * count, truth, heading % 360, retrieved)


def only(drive, which):
    """Return these frames of a drive."""
    return replace(
        drive,
        **{
            name: getattr(drive, name)[which]
            for name in ("stamps", "descriptors", "truth", "heading", "retrieved")
        },
        poses=[drive.poses[n] for n in np.arange(len(drive))[which]],
    )


def probabilities(answers):
    return np.array([answer.probability for answer in answers])


def judged(drive, place_map, belief):
    """Return the probabilities of the answers to each image, and whether these are right."""
    answers = best_alone(drive, place_map, belief)
    return probabilities(answers), fit.is_right(answers, drive.truth, RADIUS)


def best_alone(drive, place_map, belief):
    """Return the best hypothesis of each image alone."""
    return [answer.ranked[0] for answer in fit.single_answers(drive, place_map, belief)]


def filtered(drive, place_map, belief, dynamics):
    """Return the filter's best hypotheses, and which of them the image alone agrees with."""
    alone = fit.single_answers(drive, place_map, belief)
    answers = fit.filtered_answers(drive, place_map, belief, dynamics, alone)
    pairs = zip(answers, best_alone(drive, place_map, belief), strict=True)
    return answers, np.array([agree(*pair, belief) for pair in pairs])


def share_is_promised(probability, right):
    """Tell whether as many are right as the probabilities say, within what chance and a fit leave open."""
    noise = math.sqrt((probability * (1 - probability)).sum()) / len(right)
    return abs(probability.mean() - right.mean()) <= 4 * noise + 0.005


def coverage(answers, errors):
    """Return the share of errors within their 95 % ellipse."""
    covariance = np.array([answer.covariance[:2, :2] for answer in answers])
    squared = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(covariance), errors)
    return (squared <= ELLIPSE_95).mean()


# --- probabilities of single images


@pytest.mark.parametrize(
    "maker",
    [
        Maker(2.5, frames=300),
        Maker(4.0, frames=300),
        Maker(2.5, 1.0, frames=300),
        Maker(3.0, frames=200, unmapped=150),
    ],
    ids=str,
)
def test_probabilities_hold_on_another_drive_of_the_same_kind(place_map, maker):
    first, second = maker.drive(place_map, 0), maker.drive(place_map, 1)
    belief = fit.fit_belief(first, place_map, BELIEF, RADIUS)
    assert replace(belief, temperature=1.0, none_margin=0.0) == BELIEF  # nothing else has changed
    for drive in (first, second):
        probability, right = judged(drive, place_map, belief)
        assert 0.3 < right.mean() < 0.99
        assert share_is_promised(probability, right)
        # and not only as a whole: of the less sure half fewer are right
        less = probability < np.median(probability)
        assert share_is_promised(probability[less], right[less])
        assert share_is_promised(probability[~less], right[~less])
        by_default = fit.log_loss(*judged(drive, place_map, BELIEF))
        assert fit.log_loss(probability, right) < 0.9 * by_default


def test_colder_where_scores_tell_more(place_map):
    """At odds of exp(score * 2.5 / 1), of two normal distributions, the temperature is 1 / 2.5."""
    belief = fit.fit_belief(Maker(2.5, 1.0, frames=600).drive(place_map, 0), place_map, BELIEF, RADIUS)
    assert belief.temperature == pytest.approx(1 / 2.5, rel=0.25)


@pytest.mark.parametrize(("metres", "likely"), [(15.0, True), (35.0, False)])
def test_an_answer_beyond_the_radius_is_wrong_however_similar(place_map, metres, likely):
    drive = Maker(6.0).drive(place_map, 0)
    drive.truth[:, 1] += metres
    belief = fit.fit_belief(drive, place_map, BELIEF, RADIUS)
    probability, right = judged(drive, place_map, belief)
    assert (right.mean() > 0.9) == likely
    assert probability.mean() > 0.85 if likely else probability.mean() < 0.3


def test_off_the_map_it_is_none(place_map):
    maker = Maker(3.0, frames=150, unmapped=150)
    belief = fit.fit_belief(maker.drive(place_map, 0), place_map, BELIEF, RADIUS)
    without = fit.fit_belief(Maker(3.0).drive(place_map, 0), place_map, BELIEF, RADIUS)
    assert belief.none_margin > without.none_margin
    probability, _ = judged(maker.drive(place_map, 1), place_map, belief)
    assert np.median(probability[:150]) > 0.65
    assert np.median(probability[150:]) < 0.2


@pytest.mark.parametrize("right", [0.0, 3.0, 8.0])
@pytest.mark.parametrize("frames", [5, 20])
def test_a_short_drive_stays_near_the_defaults(place_map, right, frames):
    drive = Maker(right, frames=frames).drive(place_map, 3)
    belief = fit.fit_belief(drive, place_map, BELIEF, RADIUS)
    assert abs(math.log(belief.temperature)) < 1.2
    assert abs(belief.none_margin) < 3
    dynamics = fit.fit_likelihood(drive, place_map, Dynamics(), RADIUS)
    assert abs(math.log(dynamics.sharpness)) < 2
    assert abs(dynamics.lost_score - Dynamics.lost_score) < 2


def test_a_drive_without_a_wrong_answer_makes_nothing_certain(place_map):
    """However sure and however often right: the numbers stay such that a filter can go on with them."""
    drive = Maker(30.0, frames=100).drive(place_map, 0)
    belief = fit.fit_belief(drive, place_map, BELIEF, RADIUS)
    dynamics = fit.fit_likelihood(drive, place_map, Dynamics(), RADIUS)
    assert 0.3 < belief.temperature < 3
    assert 0.2 < dynamics.sharpness < 5
    assert 0 < dynamics.lost_score < 30


def test_one_wrong_answer_that_was_certain_costs_no_more_than_it_may():
    assert fit.log_loss(np.array([1.0]), np.array([False])) == pytest.approx(-math.log(SURE))
    assert fit.log_loss(np.array([0.0]), np.array([True])) == pytest.approx(-math.log(SURE))
    assert fit.log_loss(np.array([1.0, 0.25]), np.array([True, False])) == pytest.approx(-math.log(0.75))
    assert fit.log_loss(np.empty(0), np.empty(0, bool)) == 0


def test_frames_without_truth_are_not_judged(place_map):
    """They may show anything: nothing is learnt of them."""
    drive = Maker(frames=120, unmapped=60).drive(place_map, 0)
    truth = drive.truth.copy()
    truth[::3] = np.nan
    partly = replace(drive, truth=truth)
    assert partly.known.tolist() == [n for n in range(180) if n % 3]
    without = only(drive, np.arange(180) % 3 > 0)
    for fitted in (
        lambda drive: fit.fit_belief(drive, place_map, BELIEF, RADIUS),
        lambda drive: fit.fit_likelihood(drive, place_map, Dynamics(), RADIUS),
    ):
        assert fitted(partly) == fitted(without)
        assert fitted(partly) != fitted(drive)
    answers = best_alone(partly, place_map, BELIEF)
    assert not fit.is_right(answers, partly.truth, 1e9)[::3].any()
    assert fit.is_right(answers, partly.truth, 1e9)[1::3].all()


# --- what a score says


@pytest.mark.parametrize("right", [2.0, 3.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_line_of_two_normal_distributions(place_map, right, seed):
    """Of N(m, 1) against N(0, 1) the log-odds of a score s are m * (s - m / 2)."""
    maker = Maker(right, 1.0, frames=800)
    dynamics = fit.fit_likelihood(maker.drive(place_map, seed), place_map, Dynamics(), RADIUS)
    assert dynamics.sharpness == pytest.approx(right, rel=0.1)
    assert dynamics.lost_score == pytest.approx(right / 2, rel=0.05)
    assert replace(dynamics, sharpness=1.0, lost_score=2.0) == Dynamics()


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_line_scales_with_the_scores(place_map, scale):
    """Scores twice as large tell half as much each."""
    drive = Maker(2.5, 1.0, frames=800).drive(place_map, 0)
    scaled = replace(drive, descriptors=drive.descriptors * np.float32(scale))
    dynamics = fit.fit_likelihood(scaled, place_map, Dynamics(), RADIUS)
    assert dynamics.sharpness == pytest.approx(2.5 / scale, rel=0.15)
    assert dynamics.lost_score == pytest.approx(1.25 * scale, rel=0.1)


def test_places_nearby_are_not_unrelated():
    """Two spots with ten places each, which look alike: what is like the right one is right, or far away."""
    enu = np.concatenate([in_a_row(10, 1.0), in_a_row(10, 1.0, north=1000.0)])
    index = faiss.IndexFlatIP(20)
    index.add(np.eye(20, dtype=np.float32))
    spots = a_map(enu, spacing=1.0, unrelated=Spread(0.0, 1.0), index=index)
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (600, 20))
    scores[:, :10] += 3.0
    scores -= scores.mean(axis=1, keepdims=True)
    drive = Drive(
        np.arange(600) * 10**9,
        scores.astype(np.float32),
        [None] * 600,
        np.tile(enu[5, :2], (600, 1)),
        np.full(600, np.nan),
        np.tile(np.arange(10), (600, 1)),
    )
    dynamics = fit.fit_likelihood(drive, spots, Dynamics(), RADIUS)
    assert dynamics.sharpness == pytest.approx(3.0, rel=0.2)
    assert dynamics.lost_score == pytest.approx(0.0, abs=0.2)


def test_off_the_map_alone_there_is_no_right_place_to_learn_from(place_map):
    drive = Maker(frames=0, unmapped=50).drive(place_map, 0)
    assert fit.fit_likelihood(drive, place_map, Dynamics(look=3.0), RADIUS) == Dynamics(look=3.0)


# --- covariances


def made_answers(rng, count, scale, true_scale, geotag_std, yaw=0.0):
    """Make right answers with covariances at one scale, and errors drawn at another."""
    answers, errors = [], []
    for _ in range(count):
        root = rng.normal(0, 2, (2, 2))
        spread = root @ root.T + np.eye(2)
        covariance = np.eye(3)
        covariance[:2, :2] = scale * spread + geotag_std**2 * np.eye(2)
        answers.append(Hypothesis(np.zeros(3), np.zeros(3), covariance, yaw, 0.1, 0.9, (0,)))
        errors.append(rng.multivariate_normal([0, 0], true_scale * spread + geotag_std**2 * np.eye(2)))
    return answers, np.array(errors).reshape(-1, 2)


@pytest.mark.parametrize("geotag_std", [0.1, 2.0])
@pytest.mark.parametrize(("scale", "true_scale"), [(1.0, 1.0), (1.0, 0.3), (1.0, 5.0), (4.0, 2.0)])
def test_95_percent_of_another_drives_errors_lie_within_their_ellipses(scale, true_scale, geotag_std):
    rng = np.random.default_rng(0)
    answers, errors = made_answers(rng, 1500, scale, true_scale, geotag_std)
    found = fit.fit_covariance(answers, errors, geotag_std, scale)
    assert found == pytest.approx(true_scale, rel=0.25)
    again, errors = made_answers(rng, 1500, found, true_scale, geotag_std)
    assert coverage(again, errors) == pytest.approx(0.95, abs=0.02)


def test_errors_that_the_geotags_explain_leave_the_smallest_scale():
    answers, errors = made_answers(np.random.default_rng(0), 100, 1.0, 1e-6, 0.5)
    assert fit.fit_covariance(answers, errors * 0.01, 0.5, 1.0) == pytest.approx(1e-3)


def test_errors_beyond_measure_give_the_largest_scale():
    answers, errors = made_answers(np.random.default_rng(0), 100, 1.0, 1.0, 0.5)
    assert fit.fit_covariance(answers, errors * 1e6, 0.5, 1.0) == pytest.approx(1e3)


def test_a_single_right_answer_is_enough_to_go_on():
    answers, errors = made_answers(np.random.default_rng(0), 1, 1.0, 1.0, 0.5)
    assert 1e-3 <= fit.fit_covariance(answers, errors, 0.5, 1.0) <= 1e3


# --- yaw


@pytest.mark.parametrize("deviation", [0.1, 0.5])
def test_yaw_is_as_uncertain_as_it_was(deviation):
    rng = np.random.default_rng(0)
    heading = rng.normal(270.0, math.degrees(deviation), 2000) % 360
    answers, _ = made_answers(rng, 2000, 1.0, 1.0, 1.0, yaw=math.pi)  # looking west, where angles wrap
    assert fit.fit_yaw(answers, heading, 0.35) == pytest.approx(deviation, rel=0.1)
    heading[::10] += 180  # seen backwards, by chance
    assert fit.fit_yaw(answers, heading, 0.35) == pytest.approx(deviation, rel=0.25)


def test_yaw_that_is_not_known_keeps_its_default():
    rng = np.random.default_rng(0)
    answers, _ = made_answers(rng, 30, 1.0, 1.0, 1.0)
    unknown, _ = made_answers(rng, 30, 1.0, 1.0, 1.0, yaw=math.nan)
    assert fit.fit_yaw(answers, np.full(30, math.nan), 0.35) == 0.35
    assert fit.fit_yaw(unknown, np.zeros(30), 0.35) == 0.35
    few = np.full(30, math.nan)
    few[:9] = 90.0
    assert fit.fit_yaw(answers, few, 0.35) == 0.35
    few[:10] = 90.0
    assert fit.fit_yaw(answers, few, 0.35) == 0.02  # no image is surer than that


# --- the filter, and all of it


@pytest.fixture
def few_trials(monkeypatch):
    monkeypatch.setattr(fit, "TRIALS", 12)


@pytest.mark.usefixtures("few_trials")
def test_the_filters_answers_become_no_less_likely(place_map):
    drive = Maker(2.5, frames=60, unmapped=15).drive(place_map, 0)
    told = []
    start = Dynamics(sharpness=2.0, lost_score=1.2, max_speed=12.0)
    belief = replace(BELIEF, temperature=0.3)
    found = fit.fit_dynamics(drive, place_map, belief, start, RADIUS, lambda: told.append(1))

    def loss(dynamics):
        answers, _ = filtered(drive, place_map, belief, dynamics)
        return fit.log_loss(probabilities(answers), fit.is_right(answers, drive.truth, RADIUS))

    assert loss(found) < loss(start)
    assert 12 <= len(told) <= 13
    assert replace(found, look=1.0, sharpness=2.0, lost_score=1.2) == start
    assert abs(math.log(found.look)) < 1.5  # near where it began
    assert abs(math.log(found.sharpness / 2.0)) < 1
    assert abs(found.lost_score - 1.2) < 1.5


@pytest.mark.parametrize("maker", [Maker(8.0, frames=20), Maker(0.0, frames=20)], ids=str)
def test_a_short_drive_moves_the_filter_little(place_map, maker):
    """Whether it is right all the time or never."""
    start = Dynamics(sharpness=2.0, lost_score=1.5)
    drive = maker.drive(place_map, 3)
    found = fit.fit_dynamics(drive, place_map, BELIEF, start, RADIUS, lambda: None)
    assert abs(math.log(found.look)) < 0.5
    assert abs(math.log(found.sharpness / 2.0)) < 0.5
    assert abs(found.lost_score - 1.5) < 0.5


@pytest.fixture(scope="module")
def calibrated(place_map):
    """A drive, the next of its kind, and what the first has taught."""
    maker = Maker(3.0, frames=110, unmapped=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "TRIALS", 12)
        first = maker.drive(place_map, 0)
        calibration = fit_calibration(first, place_map, BELIEF, Dynamics(), "the first", lambda: None)
    return first, maker.drive(place_map, 1), calibration


def test_a_calibration_says_what_it_is_of(calibrated):
    _, _, calibration = calibrated
    assert (calibration.drive, calibration.frames, calibration.radius) == ("the first", 140, RADIUS)
    assert calibration.belief.cluster_radius == RADIUS
    assert calibration.belief.yaw_std == pytest.approx(math.radians(4), rel=0.3)
    assert calibration.dynamics.max_speed == Dynamics.max_speed


@pytest.mark.parametrize("over_time", [False, True])
def test_a_calibration_holds_on_the_next_drive(calibrated, place_map, over_time):
    first, second, calibration = calibrated
    belief, dynamics = calibration.belief, calibration.dynamics
    acceptance = calibration.filtered if over_time else calibration.single
    for drive in (first, second):
        if over_time:
            answers, agreed = filtered(drive, place_map, belief, dynamics)
        else:
            answers, agreed = best_alone(drive, place_map, belief), np.full(len(drive), True)
        probability, right = probabilities(answers), fit.is_right(answers, drive.truth, RADIUS)
        assert probability.mean() == pytest.approx(right.mean(), abs=0.08)
        good = [answer for answer, fine in zip(answers, right, strict=True) if fine]
        # a metre of error: without the scale all would be covered
        assert 0.88 < coverage(good, fit.offsets(good, drive.truth[right])) < 0.995
        accepted = agreed & (probability > acceptance.threshold(0.9))
        assert accepted.sum() > 40
        assert right[accepted].mean() > 0.82  # of 90 % promised, on some 80 frames
        if drive is first:
            for step in acceptance.steps:
                above = agreed & (probability > step.above)
                assert (step.accepted, step.wrong) == (above.sum(), (above & ~right).sum())


def test_the_filter_answers_more_than_single_images_do(calibrated):
    _, _, calibration = calibrated
    more, fewer = (
        next(s for s in acceptance.steps if s.above == acceptance.threshold(0.9)).accepted
        for acceptance in (calibration.filtered, calibration.single)
    )
    assert more > fewer


@pytest.mark.usefixtures("few_trials")
def test_only_frames_with_a_truth_are_counted(place_map):
    drive = Maker(3.0, frames=60).drive(place_map, 0)
    drive.truth[::2] = np.nan
    drive.heading[:] = np.nan
    calibration = fit_calibration(drive, place_map, BELIEF, Dynamics(), "half", lambda: None)
    assert calibration.frames == 30
    for acceptance in (calibration.single, calibration.filtered):
        assert acceptance.steps[0].accepted <= 30
    assert calibration.belief.yaw_std == BELIEF.yaw_std


@pytest.mark.usefixtures("few_trials")
def test_a_drive_elsewhere_teaches_nothing(place_map):
    drive = Maker(frames=0, unmapped=40).drive(place_map, 0)
    with pytest.raises(InputError) as caught:
        fit_calibration(drive, place_map, BELIEF, Dynamics(), "elsewhere", lambda: None)
    assert "elsewhere" in str(caught.value)
    assert "none of 40 answers" in str(caught.value)
    assert "is it this area?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_it_tells(calibrated):
    _, _, calibration = calibrated
    lines = command.told(calibration).splitlines()
    assert lines[0] == "140 frames of the first, right within 25 m"
    assert f"covariance_scale {calibration.belief.covariance_scale:.3g}" in lines[1]
    assert f"look {calibration.dynamics.look:.3g} s" in lines[2]
    assert [line.split(":")[0] for line in lines[3:]] == [
        f"{name}, precision {wanted}" for name in ("image alone", "filtered") for wanted in (0.95, 0.99)
    ]
    for acceptance, line in ((calibration.single, lines[4]), (calibration.filtered, lines[6])):
        threshold = acceptance.threshold(0.99)
        said = "no threshold promises that" if threshold == NEVER else f"accepted above {threshold:.4f}"
        assert said in line


def test_a_whole_fit_takes_as_many_trials_as_it_says(place_map, monkeypatch):
    told = []
    drive = Maker(frames=20).drive(place_map, 0)
    answers = best_alone(drive, place_map, BELIEF)
    monkeypatch.setattr(fit, "filtered_answers", lambda *_: answers)
    fit_calibration(drive, place_map, BELIEF, Dynamics(), "x", lambda: told.append(1))
    assert 0 < len(told) <= TRIALS + 1
