"""Hypotheses by their properties: probabilities, covariances, which places stand together."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from test.conftest import DATUM
from test.some_places import a_map, in_a_row
from vpr_ros.clusters import SAME_VIEW, clusters
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_enu
from vpr_ros.hypotheses import (
    POINT,
    Belief,
    Hypotheses,
    agree,
    gather,
    none_score,
    rank,
    rank_each,
    with_lost,
)


def ask(place_map, scores, places=None, belief=None):
    """Gather scores, of all places unless they are named, in whatever order."""
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    places = np.arange(len(scores)) if places is None else np.asarray(places)
    return gather(scores[order], places[order].astype(np.int64), place_map, belief or Belief())


coordinate = st.floats(-300, 300, allow_nan=False)
answers = st.lists(
    st.tuples(
        st.tuples(coordinate, coordinate, st.floats(-20, 20)),
        st.one_of(st.just(math.nan), st.floats(0, 359.99)),
        st.floats(-12, 12),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    answers=answers,
    geotag_std=st.floats(0.01, 20),
    spacing=st.floats(0, 50),
    temperature=st.floats(0.05, 5),
    margin=st.floats(-5, 5),
    scale=st.floats(1e-3, 1e3),
)
# whose probabilities add up to an ulp more than one
@example([((0, 0, 0), math.nan, score) for score in (9.0, 9.0, 10.875)], 1.0, 0.0, 0.0625, 0.0, 1.0)
def test_what_holds_for_every_answer(answers, geotag_std, spacing, temperature, margin, scale):
    enu = [enu for enu, _, _ in answers]
    place_map = a_map(enu, [h for _, h, _ in answers], geotag_std, spacing)
    belief = Belief(temperature=temperature, none_margin=margin, covariance_scale=scale)
    hypotheses = ask(place_map, [score for _, _, score in answers], belief=belief)
    ranked = hypotheses.ranked
    probabilities = [hypothesis.probability for hypothesis in ranked]
    assert math.isclose(sum(probabilities) + hypotheses.none, 1, abs_tol=1e-9)
    assert all(0 <= p <= 1 for p in [*probabilities, hypotheses.none])
    assert probabilities == sorted(probabilities, reverse=True)
    # every retrieved place stands behind exactly one hypothesis
    behind = [place for hypothesis in ranked for place in hypothesis.places]
    assert sorted(behind) == list(range(len(answers)))
    for hypothesis in ranked:
        members = list(hypothesis.places)
        scores = [answers[place][2] for place in members]
        assert scores == sorted(scores, reverse=True)
        covariance = hypothesis.covariance
        assert np.array_equal(covariance, covariance.T) or np.allclose(covariance, covariance.T, atol=1e-9)
        # however small the scale, an answer is no better than the geotags that it is made of
        largest = np.linalg.eigvalsh(covariance).max()
        assert np.linalg.eigvalsh(covariance).min() >= geotag_std**2 - 1e-12 * largest
        # the mean is one of the cluster's convex hull, and the cluster is one place wide
        own = place_map.enu[members]
        assert (hypothesis.enu >= own.min(axis=0) - 1e-6).all()
        assert (hypothesis.enu <= own.max(axis=0) + 1e-6).all()
        assert (np.linalg.norm(own[:, :2] - own[0, :2], axis=1) <= belief.cluster_radius + 1e-6).all()
        assert np.allclose(to_enu(*hypothesis.geodetic, DATUM), hypothesis.enu, atol=1e-5)
        known = ~np.isnan(place_map.places["heading"][members])
        assert known.any() or math.isnan(hypothesis.yaw)
        assert math.isnan(hypothesis.yaw) == math.isnan(hypothesis.yaw_variance)
        if known.all():
            assert -math.pi <= hypothesis.yaw <= math.pi
            assert hypothesis.yaw_variance >= belief.yaw_std**2 * (1 - 1e-9)


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.floats(-4, 8), min_size=2, max_size=8),
    which=st.integers(0, 7),
    gain=st.floats(0.01, 2),
)
def test_a_higher_score_is_more_probable(scores, which, gain):
    """Places far apart, each its own hypothesis: raising one raises it and lowers all the others."""
    which %= len(scores)
    place_map = a_map(in_a_row(len(scores), 100.0))
    raised = [s + gain * (n == which) for n, s in enumerate(scores)]
    before, after = (
        {hypothesis.places[0]: hypothesis.probability for hypothesis in ask(place_map, values).ranked}
        for values in (scores, raised)
    )
    assert after[which] > before[which]
    assert all(after[n] < before[n] for n in after if n != which)
    assert ask(place_map, raised).none < ask(place_map, scores).none
    order = np.argsort([-s for s in scores], kind="stable")
    assert sorted(before.values(), reverse=True) == pytest.approx([before[n] for n in order])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_weights_are_exponential_in_the_score(temperature):
    """Two places whose scores differ by one temperature differ by e; none weighs as its score says."""
    place_map = a_map([[0, 0, 0], [100, 0, 0]])
    belief = Belief(temperature=temperature, none_margin=2.0)
    hypotheses = ask(place_map, [6.0, 6.0 - temperature], belief=belief)
    first, second = hypotheses.ranked
    assert first.probability / second.probability == pytest.approx(math.e)
    none = math.sqrt(2 * math.log(2)) + 2.0
    assert first.probability / hypotheses.none == pytest.approx(math.exp((6.0 - none) / temperature))


@pytest.mark.parametrize("count", [2, 10, 1000])
def test_none_scores_as_the_best_of_as_many_unrelated_places(count):
    """The largest of N values of a normal distribution lies near sqrt(2 ln N)."""
    place_map = a_map(in_a_row(count))
    expected = math.sqrt(2 * math.log(count))
    assert none_score(place_map, Belief()) == pytest.approx(expected)
    assert none_score(place_map, Belief(none_margin=-1.5)) == pytest.approx(expected - 1.5)
    hypotheses = ask(place_map, [expected], [0])
    assert hypotheses.none == pytest.approx(0.5)


def test_a_map_of_one_place_has_a_none_as_one_of_two():
    assert none_score(a_map([[0, 0, 0]]), Belief()) == none_score(a_map(in_a_row(2)), Belief())


def test_a_larger_map_wants_a_higher_score():
    """The best of many unrelated places is more similar by chance than the best of few."""
    few, many = (a_map(in_a_row(count, 100.0)) for count in (10, 1000))
    assert ask(few, [4.0], [0]).none < ask(many, [4.0], [0]).none


# --- places with their probabilities, wherever these come from


def test_what_the_weights_lack_to_one_is_none():
    place_map = a_map(in_a_row(3, 100.0))
    hypotheses = rank(np.array([2, 0]), np.array([0.6, 0.15]), place_map, Belief())
    assert [(each.places, each.probability) for each in hypotheses.ranked] == [((2,), 0.6), ((0,), 0.15)]
    assert hypotheses.none == pytest.approx(0.25)


@settings(max_examples=60, deadline=None)
@given(
    many=st.lists(st.lists(st.integers(0, 39), max_size=25), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_several_ranked_in_one_pass_are_as_each_alone(many, seed):
    """Whichever places they share, near or kilometres apart, and where one has none."""
    rng = np.random.default_rng(seed)
    enu = rng.uniform(-30, 30, (40, 3)) + np.repeat([[0.0], [9000.0]], 20, axis=0)
    headings = np.where(rng.random(40) < 0.3, np.nan, rng.uniform(0, 360, 40))
    place_map = a_map(enu, headings)
    candidates = [
        (np.array(places, np.int64), rng.dirichlet(np.ones(len(places) + 1))[:-1]) for places in many
    ]
    together = rank_each(candidates, place_map, Belief())
    for (places, weights), one in zip(candidates, together, strict=True):
        alone = rank(places, weights, place_map, Belief())
        assert [each.places for each in one.ranked] == [each.places for each in alone.ranked]
        assert one.none == alone.none
        # squares of kilometres are what metres are the difference of
        np.testing.assert_allclose(one.ranked.numbers, alone.ranked.numbers, rtol=1e-6, atol=1e-6)


def test_weights_that_round_to_more_than_one_leave_no_negative_none():
    weights = np.array([0.6, 0.4 + 1e-12])
    assert rank(np.array([0, 1]), weights, a_map(in_a_row(2, 100.0)), Belief()).none == 0.0


def test_hypotheses_are_ranked_by_what_their_places_weigh_together():
    """The best place alone weighs less than two of the second best beside each other."""
    place_map = a_map([[0, 0, 0], [500, 0, 0], [504, 0, 0]])
    first, second = rank(np.array([0, 1, 2]), np.array([0.4, 0.3, 0.25]), place_map, Belief()).ranked
    assert first.places == (1, 2)
    assert first.probability == pytest.approx(0.55)
    assert first.enu[0] == pytest.approx(500 + 4 * 0.25 / 0.55)
    assert second.places == (0,)


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(
        st.tuples(coordinate, coordinate, st.one_of(st.just(math.nan), st.floats(-math.pi, math.pi))),
        min_size=1,
        max_size=15,
    ),
    radius=st.floats(0.1, 200),
)
def test_groups_are_around_their_best_row(places, radius):
    """By looking at each row in turn: it joins the first group whose best row is near and looks that way."""
    enu = np.array([[east, north, 0.0] for east, north, _ in places])
    yaw = [yaw for _, _, yaw in places]
    expected = []
    for row in range(len(places)):
        for group in expected:
            best = group[0]
            off = abs(math.remainder(yaw[row] - yaw[best], 2 * math.pi))
            if math.dist(enu[row], enu[best]) <= radius and not off > SAME_VIEW:
                group.append(row)
                break
        else:
            expected.append([row])
    assert [group.tolist() for group in clusters(enu, np.array(yaw), radius)] == expected


# --- which places stand together


def test_two_clusters_far_apart_are_two_hypotheses():
    east = [[1000.0 + n, 0.0, 0.0] for n in range(3)]
    west = [[-1000.0 - n, 50.0, 5.0] for n in range(4)]
    hypotheses = ask(a_map(east + west), [9.0, 8.5, 8.5, 8.9, 7.0, 6.0, 6.0])
    first, second = hypotheses.ranked
    assert set(first.places) == {0, 1, 2}
    assert set(second.places) == {3, 4, 5, 6}
    assert first.places[0] == 0
    assert first.enu[0] == pytest.approx(1000, abs=2)
    assert second.enu[0] == pytest.approx(-1001, abs=2)
    assert hypotheses.none < 0.01


def test_a_cluster_reaches_its_radius_and_no_farther():
    place_map = a_map([[d, 0, 0] for d in (0.0, 9.9, 10.1)])
    hypotheses = ask(place_map, [5.0, 2.0, 1.0], belief=Belief(cluster_radius=10))
    assert [hypothesis.places for hypothesis in hypotheses.ranked] == [(0, 1), (2,)]


def test_a_chain_of_places_along_a_road_is_not_one_cluster():
    hypotheses = ask(a_map(in_a_row(20, 5.0)), np.linspace(9, 5, 20))
    assert len(hypotheses.ranked) >= 3
    for hypothesis in hypotheses.ranked:
        assert max(hypothesis.places) - min(hypothesis.places) <= 6


def test_places_above_each_other_are_one_cluster():
    """A cluster is one on the ground: GPS altitude is too bad to tell floors apart."""
    assert len(ask(a_map([[0, 0, 0], [0, 0, 60]]), [5.0, 5.0]).ranked) == 1


@pytest.mark.parametrize(("first", "second", "count"), [(10, 190, 2), (350, 20, 1), (0, 89, 1), (0, 91, 2)])
def test_headings_part_what_the_position_does_not(first, second, count):
    hypotheses = ask(a_map([[0, 0, 0], [1, 0, 0]], [first, second]), [5.0, 5.0])
    assert len(hypotheses.ranked) == count


def test_unknown_headings_gather_by_position_alone():
    hypotheses = ask(a_map(in_a_row(4, 1.0)), [5.0] * 4)
    assert len(hypotheses.ranked) == 1
    assert math.isnan(hypotheses.ranked[0].yaw)
    assert math.isnan(hypotheses.ranked[0].yaw_variance)


def test_yaw_comes_from_the_places_whose_heading_is_known():
    (hypothesis,) = ask(a_map([[0, 0, 0], [1, 0, 0]], [np.nan, 0.0]), [5.0, 5.0]).ranked
    assert hypothesis.yaw == pytest.approx(math.pi / 2)  # north
    assert hypothesis.yaw_variance == pytest.approx(Belief().yaw_std ** 2)


@pytest.mark.parametrize("score", [-200.0, -358.0, -360.0, -1000.0])
def test_yaw_is_not_that_of_a_place_that_counts_for_nothing(score):
    """Its weight beside the others' may be too small a number to divide by."""
    (hypothesis,) = ask(
        a_map(in_a_row(2, 1.0), [np.nan, 0.0]), [0.0, score], belief=Belief(temperature=0.5)
    ).ranked
    assert math.isnan(hypothesis.yaw)
    assert math.isnan(hypothesis.yaw_variance)


@pytest.mark.parametrize(
    ("headings", "yaw"),
    [((0, 0), math.pi / 2), ((80, 100), 0.0), ((260, 280), math.pi), ((350, 10), math.pi / 2)],
)
def test_yaw_is_the_circular_mean(headings, yaw):
    """Around west, yaws are near pi and near -pi: their mean is west, not east."""
    (hypothesis,) = ask(a_map([[0, 0, 0], [1, 0, 0]], headings), [5.0, 5.0]).ranked
    off = (hypothesis.yaw - yaw + math.pi) % (2 * math.pi) - math.pi
    assert off == pytest.approx(0, abs=1e-6)
    spread = math.radians((headings[1] - headings[0] + 180) % 360 - 180) / 2
    # two directions spread apart have the resultant cos(spread)
    expected = -2 * math.log(math.cos(spread)) + Belief().yaw_std ** 2
    assert hypothesis.yaw_variance == pytest.approx(expected, abs=1e-6)


def test_opposite_views_of_unknown_and_known_heading_say_little_of_the_yaw():
    """Around a place without heading gather those that look either way: the variance says so, finitely."""
    (hypothesis,) = ask(a_map(in_a_row(3, 1.0), [np.nan, 0.0, 180.0]), [5.0, 4.0, 4.0]).ranked
    assert math.pi**2 < hypothesis.yaw_variance < 30


def test_the_mean_leans_to_the_more_similar():
    place_map = a_map([[0, 0, 0], [10, 0, 0]])
    assert ask(place_map, [5.0, 5.0]).ranked[0].enu[0] == pytest.approx(5)
    # weights as e to 1
    assert ask(place_map, [6.0, 5.0]).ranked[0].enu[0] == pytest.approx(10 / (1 + math.e))
    assert ask(place_map, [5.0, 6.0]).ranked[0].enu[0] == pytest.approx(10 * math.e / (1 + math.e))


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_covariance_grows_along_the_spread_alone(scale):
    belief = Belief(covariance_scale=scale)
    together, apart = (
        ask(a_map([[-east, 0, 0], [east, 0, 0]]), [5.0, 5.0], belief=belief).ranked[0].covariance
        for east in (0.0, 6.0)
    )
    assert apart - together == pytest.approx(scale * np.diag([36.0, 0.0, 0.0]), abs=1e-6)
    view = 1.0**2 / 12 + belief.view_std**2  # of the spacing, and of the view
    scaled = scale * np.diag([view, view, belief.vertical_std**2])
    assert together == pytest.approx(scaled + 2.0**2 * np.eye(3))


def test_the_spread_may_lie_across_the_axes():
    place_map = a_map([[-3, -4, -1], [3, 4, 1]])
    covariance = ask(place_map, [5.0, 5.0], belief=Belief(covariance_scale=2.0)).ranked[0].covariance
    assert covariance[0, 1] == covariance[1, 0] == pytest.approx(2 * 12)
    assert covariance[0, 2] == covariance[2, 0] == pytest.approx(2 * 3)
    assert covariance[1, 2] == covariance[2, 1] == pytest.approx(2 * 4)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0])
def test_no_scale_makes_an_answer_better_than_its_geotags(scale):
    belief = Belief(covariance_scale=scale, view_std=1e-6, vertical_std=1e-6)
    covariance = ask(a_map([[0, 0, 0]], geotag_std=3.0), [5.0], belief=belief).ranked[0].covariance
    assert np.linalg.eigvalsh(covariance).min() >= 3.0**2


@pytest.mark.parametrize(("score", "least"), [(-12.0, 0.999999), (-2.0, 0.999), (0.0, 0.99)])
def test_nothing_similar_is_none(score, least):
    """Twenty places of which none is more similar than unrelated places are."""
    belief = Belief(temperature=0.7, none_margin=3.0)
    assert ask(a_map(in_a_row(20, 100.0)), [score] * 20, belief=belief).none > least


def test_a_hopeless_cluster_still_has_a_shape():
    """Its weights vanish against those of the best; it must not become NaN."""
    place_map = a_map([[0, 0, 0], [500, 0, 0], [504, 0, 0]], [0, 90, 90])
    _, far = ask(place_map, [1000.0, -1000.0, -1000.0]).ranked
    assert far.probability == 0
    assert far.enu == pytest.approx([502, 0, 0])
    assert far.yaw == pytest.approx(0)
    assert np.isfinite(far.covariance).all()


def test_one_place_and_one_result():
    (hypothesis,) = ask(a_map([[3.0, 4.0, 5.0]], [90.0]), [8.0]).ranked
    assert hypothesis.enu == pytest.approx([3, 4, 5])
    assert hypothesis.places == (0,)
    assert hypothesis.probability > 0.99
    assert hypothesis.yaw == pytest.approx(0)


def test_one_result_of_many_places():
    (hypothesis,) = ask(a_map(in_a_row(5, 100.0)), [5.0], [3]).ranked
    assert hypothesis.places == (3,)
    assert hypothesis.enu == pytest.approx([300, 0, 0])


def test_geodetic_is_the_place_itself():
    place_map = a_map([[120.0, -80.0, 7.0]])
    geodetic = ask(place_map, [5.0]).ranked[0].geodetic
    row = place_map.places[0]
    assert geodetic[:2] == pytest.approx([row["latitude"], row["longitude"]], abs=1e-9)
    assert geodetic[2] == pytest.approx(row["altitude"], abs=1e-4)


def test_points_say_what_the_hypotheses_say():
    enu = [[-3, -4, -1], [3, 4, 1], [500, 100, 7]]
    hypotheses = ask(a_map(enu, [80, 100, np.nan]), [5.0, 5.5, 4.5])
    points = hypotheses.points()
    assert points.dtype == POINT
    assert len(points) == len(hypotheses.ranked) == 2
    for point, each in zip(points, hypotheses.ranked, strict=True):
        assert [point["x"], point["y"], point["z"]] == pytest.approx(each.enu, rel=1e-6)
        assert [point["latitude"], point["longitude"]] == each.geodetic[:2].tolist()  # no metre is lost
        assert point["yaw"] == pytest.approx(each.yaw, nan_ok=True, abs=1e-6)
        assert point["var_east"] == pytest.approx(each.covariance[0, 0])
        assert point["cov_east_north"] == pytest.approx(each.covariance[0, 1])
        assert point["var_north"] == pytest.approx(each.covariance[1, 1])
        assert point["probability"] == pytest.approx(each.probability)
        assert point["place"] == each.places[0]
    assert points["place"].tolist() == [1, 2]
    assert points["cov_east_north"][0] > 10
    assert np.isnan(points["yaw"]).tolist() == [False, True]


def test_no_hypotheses_are_no_points():
    empty = rank(np.empty(0, np.int64), np.empty(0), a_map([[0, 0, 0]]), Belief())
    assert empty.none == 1.0
    assert empty.points().shape == (0,)
    assert empty.points().dtype == POINT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in (
            "temperature",
            "cluster_radius",
            "view_std",
            "vertical_std",
            "yaw_std",
            "covariance_scale",
        )
        for value in (0.0, -1.0, math.nan, math.inf)
    ],
)
def test_a_belief_that_cannot_be(name, value):
    with pytest.raises(InputError) as caught:
        Belief(**{name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_margin_that_is_no_number(value):
    with pytest.raises(InputError, match="none_margin"):
        Belief(none_margin=value)


def test_a_margin_may_be_negative():
    assert Belief(none_margin=-2.0).none_margin == -2.0


def test_two_answers_agree_within_the_radius_that_makes_one_place_of_them():
    place_map = a_map([[0, 0, 0], [14, 0, 500], [0, 16, 0]])
    here, near, far = (ask(place_map, np.full(1, 9.0), np.array([place])).ranked[0] for place in range(3))
    belief = Belief(cluster_radius=15.0)
    assert agree(here, here, belief)
    assert agree(here, near, belief), "altitude is the geotags' worst axis"
    assert not agree(here, far, belief)


@settings(max_examples=60, deadline=None)
@given(first=answers, second=answers, none=st.floats(0, 1), on_map=st.floats(0.01, 0.99))
def test_what_is_lost_is_where_the_image_says(first, second, none, on_map):
    """Probabilities still sum to one, and nothing that was followed is gone or becomes less likely."""
    followed, alone = (
        ask(a_map([at for at, _, _ in each], [heading for _, heading, _ in each]), [s for _, _, s in each])
        for each in (first, second)
    )
    scale = (1 - none) / max(1 - followed.none, 1e-9)
    ranked = [replace(each, probability=each.probability * scale) for each in followed.ranked]
    followed = Hypotheses(ranked, none)
    both = with_lost(followed, alone, on_map, Belief())
    total = sum(each.probability for each in both.ranked)
    assert total + both.none == pytest.approx(sum(each.probability for each in ranked) + none, abs=1e-6)
    assert both.none == pytest.approx(none * (1 - on_map + on_map * alone.none), abs=1e-9)
    for each in ranked:
        assert any(
            np.array_equal(each.enu, after.enu) and after.probability >= each.probability
            for after in both.ranked
        )
    assert [each.probability for each in both.ranked] == sorted(
        (each.probability for each in both.ranked), reverse=True
    )


def test_a_filter_that_is_lost_answers_as_the_image_alone_does_and_a_sure_one_as_itself():
    place_map = a_map([[0, 0, 0], [200, 0, 0]])
    here, there = (ask(place_map, np.full(1, 9.0), np.array([place])) for place in range(2))
    lost = Hypotheses([replace(here.ranked[0], probability=0.02)], 0.98)
    assert with_lost(lost, there, 0.5, Belief()).ranked[0].places == (1,)
    sure = Hypotheses([replace(here.ranked[0], probability=0.9)], 0.1)
    assert with_lost(sure, there, 0.5, Belief()).ranked[0].places == (0,)
    again = with_lost(sure, here, 0.5, Belief())
    assert len(again.ranked) == 1, "one place is named once"
    assert again.ranked[0].probability == pytest.approx(0.9 + 0.05 * here.ranked[0].probability)
