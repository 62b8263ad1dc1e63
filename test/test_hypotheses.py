"""Hypotheses by their properties: probabilities, covariances, which places stand together."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.conftest import DATUM
from test.some_places import a_map, in_a_row
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_enu
from vpr_ros.hypotheses import POINT, SAME_VIEW, Belief, clusters, gather, none_score, rank


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
        st.floats(-1, 1, width=32),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    answers=answers,
    geotag_std=st.floats(0.01, 20),
    spacing=st.floats(0, 50),
    std=st.floats(1e-3, 0.3),
    temperature=st.floats(0.05, 5),
)
def test_what_holds_for_every_answer(answers, geotag_std, spacing, std, temperature):
    enu = [enu for enu, _, _ in answers]
    place_map = a_map(enu, [h for _, h, _ in answers], geotag_std, spacing, Spread(0.1, std))
    belief = Belief(temperature=temperature)
    hypotheses = ask(place_map, [similarity for _, _, similarity in answers], belief=belief)
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
        similarities = [answers[place][2] for place in members]
        assert similarities == sorted(similarities, reverse=True)
        covariance = hypothesis.covariance
        assert np.array_equal(covariance, covariance.T) or np.allclose(covariance, covariance.T, atol=1e-9)
        assert np.linalg.eigvalsh(covariance).min() >= geotag_std**2 * (1 - 1e-9)
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
    similarities=st.lists(st.floats(-0.5, 0.875, width=32), min_size=2, max_size=8),
    which=st.integers(0, 7),
    gain=st.floats(0.001, 0.1),
)
def test_more_similar_is_more_probable(similarities, which, gain):
    """Places far apart, each its own hypothesis: raising one raises it and lowers all the others."""
    which %= len(similarities)
    place_map = a_map([[100.0 * n, 0, 0] for n in range(len(similarities))])
    raised = [s + gain * (n == which) for n, s in enumerate(similarities)]
    before, after = (
        {hypothesis.places[0]: hypothesis.probability for hypothesis in ask(place_map, values).ranked}
        for values in (similarities, raised)
    )
    assert after[which] >= before[which]
    assert after[which] > before[which] or before[which] in (0.0, 1.0) or before[which] > 1 - 1e-9
    assert all(after[n] <= before[n] + 1e-12 for n in after if n != which)
    assert ask(place_map, raised).none <= ask(place_map, similarities).none + 1e-12
    order = np.argsort([-s for s in similarities], kind="stable")
    assert sorted(before.values(), reverse=True) == pytest.approx([before[n] for n in order])


def test_weights_are_exponential_in_the_score():
    """Two places whose scores differ by one temperature differ by e; none weighs as its score says."""
    place_map = a_map([[0, 0, 0], [100, 0, 0]])
    belief = Belief(temperature=0.5, none_margin=2.0)
    hypotheses = ask(place_map, [0.4, 0.4 - 0.5 * UNRELATED.std], belief=belief)
    first, second = hypotheses.ranked
    assert first.probability / second.probability == pytest.approx(math.e, rel=1e-5)
    score = (0.4 - UNRELATED.mean) / UNRELATED.std
    none = math.sqrt(2 * math.log(2)) + 2.0
    assert first.probability / hypotheses.none == pytest.approx(math.exp((score - none) / 0.5), rel=1e-5)


def test_a_larger_map_wants_a_higher_similarity():
    """The best of many unrelated places is more similar by chance than the best of few."""
    few, many = (a_map([[100.0 * n, 0, 0] for n in range(count)]) for count in (10, 1000))
    assert ask(few, [0.3], [0]).none < ask(many, [0.3], [0]).none


def test_two_clusters_far_apart_are_two_hypotheses():
    east = [[1000.0 + n, 0.0, 0.0] for n in range(3)]
    west = [[-1000.0 - n, 50.0, 5.0] for n in range(4)]
    hypotheses = ask(a_map(east + west), [0.8, 0.7, 0.7, 0.75, 0.7, 0.6, 0.6])
    first, second = hypotheses.ranked
    assert set(first.places) == {0, 1, 2}
    assert set(second.places) == {3, 4, 5, 6}
    assert first.places[0] == 0
    assert first.enu[0] == pytest.approx(1000, abs=2)
    assert second.enu[0] == pytest.approx(-1001, abs=2)
    assert hypotheses.none < 0.01


def test_a_cluster_reaches_its_radius_and_no_farther():
    distances = [0.0, 9.9, 10.1]
    hypotheses = ask(a_map([[d, 0, 0] for d in distances]), [0.9, 0.5, 0.4], belief=Belief(cluster_radius=10))
    assert [hypothesis.places for hypothesis in hypotheses.ranked] == [(0, 1), (2,)]


def test_a_chain_of_places_along_a_road_is_not_one_cluster():
    hypotheses = ask(a_map([[5.0 * n, 0, 0] for n in range(20)]), np.linspace(0.9, 0.5, 20))
    assert len(hypotheses.ranked) >= 3
    for hypothesis in hypotheses.ranked:
        assert max(hypothesis.places) - min(hypothesis.places) <= 6


def test_places_above_each_other_are_one_cluster():
    """A cluster is one on the ground: GPS altitude is too bad to tell floors apart."""
    assert len(ask(a_map([[0, 0, 0], [0, 0, 60]]), [0.8, 0.8]).ranked) == 1


@pytest.mark.parametrize(("first", "second", "count"), [(10, 190, 2), (350, 20, 1), (0, 89, 1), (0, 91, 2)])
def test_headings_part_what_the_position_does_not(first, second, count):
    hypotheses = ask(a_map([[0, 0, 0], [1, 0, 0]], [first, second]), [0.8, 0.8])
    assert len(hypotheses.ranked) == count


def test_unknown_headings_gather_by_position_alone():
    hypotheses = ask(a_map([[n, 0, 0] for n in range(4)]), [0.8] * 4)
    assert len(hypotheses.ranked) == 1
    assert math.isnan(hypotheses.ranked[0].yaw)
    assert math.isnan(hypotheses.ranked[0].yaw_variance)


def test_yaw_comes_from_the_places_whose_heading_is_known():
    (hypothesis,) = ask(a_map([[0, 0, 0], [1, 0, 0]], [np.nan, 0.0]), [0.8, 0.8]).ranked
    assert hypothesis.yaw == pytest.approx(math.pi / 2)  # north
    assert hypothesis.yaw_variance == pytest.approx(Belief().yaw_std ** 2)


@pytest.mark.parametrize(
    ("headings", "yaw"),
    [((0, 0), math.pi / 2), ((80, 100), 0.0), ((260, 280), math.pi), ((350, 10), math.pi / 2)],
)
def test_yaw_is_the_circular_mean(headings, yaw):
    """Around west, yaws are near pi and near -pi: their mean is west, not east."""
    (hypothesis,) = ask(a_map([[0, 0, 0], [1, 0, 0]], headings), [0.8, 0.8]).ranked
    off = (hypothesis.yaw - yaw + math.pi) % (2 * math.pi) - math.pi
    assert off == pytest.approx(0, abs=1e-6)
    spread = math.radians((headings[1] - headings[0] + 180) % 360 - 180) / 2
    # two directions spread apart have the resultant cos(spread)
    expected = -2 * math.log(math.cos(spread)) + Belief().yaw_std ** 2
    assert hypothesis.yaw_variance == pytest.approx(expected, abs=1e-6)


def test_the_mean_leans_to_the_more_similar():
    place_map = a_map([[0, 0, 0], [10, 0, 0]])
    assert ask(place_map, [0.7, 0.7]).ranked[0].enu[0] == pytest.approx(5, abs=1e-4)
    assert 0 < ask(place_map, [0.72, 0.7]).ranked[0].enu[0] < 4.5
    assert 5.5 < ask(place_map, [0.7, 0.72]).ranked[0].enu[0] < 10


def test_covariance_grows_along_the_spread_alone():
    together, apart = (
        ask(a_map([[-east, 0, 0], [east, 0, 0]]), [0.7, 0.7]).ranked[0].covariance for east in (0.0, 6.0)
    )
    assert apart - together == pytest.approx(np.diag([36.0, 0.0, 0.0]), abs=1e-6)
    belief = Belief()
    floor = 2.0**2 + 1.0**2 / 12 + belief.view_std**2  # geotags, spacing, view
    assert together == pytest.approx(np.diag([floor, floor, 2.0**2 + belief.vertical_std**2]))


@pytest.mark.parametrize(("similarity", "least"), [(-0.5, 0.999), (0.0, 0.98), (UNRELATED.mean, 0.8)])
def test_nothing_similar_is_none(similarity, least):
    """Twenty places of which none is more similar than unrelated places are."""
    place_map = a_map([[100.0 * n, 0, 0] for n in range(20)])
    belief = Belief(temperature=0.7, none_margin=1.0)
    assert ask(place_map, [similarity] * 20, belief=belief).none > least


def test_a_hopeless_cluster_still_has_a_shape():
    """Its weights vanish against those of the best; it must not become NaN."""
    place_map = a_map([[0, 0, 0], [500, 0, 0], [504, 0, 0]], [0, 90, 90], unrelated=Spread(0.0, 1e-3))
    _, far = ask(place_map, [1.0, -1.0, -1.0]).ranked
    assert far.probability == 0
    assert far.enu == pytest.approx([502, 0, 0])
    assert far.yaw == pytest.approx(0)
    assert np.isfinite(far.covariance).all()


def test_one_place_and_one_result():
    (hypothesis,) = ask(a_map([[3.0, 4.0, 5.0]], [90.0]), [0.9]).ranked
    assert hypothesis.enu == pytest.approx([3, 4, 5])
    assert hypothesis.places == (0,)
    assert hypothesis.probability > 0.99
    assert hypothesis.yaw == pytest.approx(0)


def test_one_result_of_many_places():
    (hypothesis,) = ask(a_map([[100.0 * n, 0, 0] for n in range(5)]), [0.9], [3]).ranked
    assert hypothesis.places == (3,)
    assert hypothesis.enu == pytest.approx([300, 0, 0])


def test_geodetic_is_the_place_itself():
    place_map = a_map([[120.0, -80.0, 7.0]])
    geodetic = ask(place_map, [0.9]).ranked[0].geodetic
    row = place_map.places[0]
    assert geodetic[:2] == pytest.approx([row["latitude"], row["longitude"]], abs=1e-9)
    assert geodetic[2] == pytest.approx(row["altitude"], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("temperature", "cluster_radius", "view_std", "vertical_std", "yaw_std")
        for value in (0.0, -1.0, math.nan, math.inf)
        if (name, value) != ("cluster_radius", math.inf)  # odd, but it means something
    ],
)
def test_a_belief_that_cannot_be(name, value):
    with pytest.raises(InputError) as caught:
        Belief(**{name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_margin_that_is_no_number():
    with pytest.raises(InputError, match="none_margin"):
        Belief(none_margin=math.nan)
