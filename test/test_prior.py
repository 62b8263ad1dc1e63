"""Which places are within reach of a prior position: by the mathematics of ellipses."""

import math
from dataclasses import replace

import faiss
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from sensor_msgs.msg import NavSatFix, NavSatStatus

from test.conftest import DATUM
from test.some_places import a_map, in_a_row
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_geodetic
from vpr_ros.messages import prior_from_fix
from vpr_ros.prior import WITHIN, Prior, around, ellipse, prior_for, within_reach
from vpr_ros.sequence_filter import FORGET

SECOND = 10**9
#: What metres by way of degrees may differ by, of those of the ellipse.
ROUNDING = 1e-6


def prior_at(east, north, var_east=100.0, shared=0.0, var_north=100.0, stamp=None):
    latitude, longitude, _ = to_geodetic([east, north, 0.0], DATUM)
    return Prior(float(latitude), float(longitude), var_east, shared, var_north, stamp)


def squared(prior, xy, geotag_std, drive):
    """Return x' Q^-1 x of (N, 2) metres about the prior, in other words than those that are tested."""
    covariance = np.array([[prior.var_east, prior.cov_east_north], [prior.cov_east_north, prior.var_north]])
    known = chi2.ppf(0.999, 2) * (covariance + np.diag([geotag_std**2] * 2))
    moved = drive**2 * np.eye(2)
    ratio = math.sqrt(np.trace(known) / np.trace(moved)) if drive else math.inf
    shape = known if not drive else (1 + 1 / ratio) * known + (1 + ratio) * moved
    return np.array([x @ np.linalg.solve(shape, x) for x in xy])


# --- the ellipse


def test_the_level_is_that_of_scipy():
    assert pytest.approx(chi2.ppf(0.999, 2), rel=1e-12) == WITHIN


def test_the_ellipse_holds_the_robot_999_times_of_1000():
    random = np.random.default_rng(0)
    covariance, geotag_std = np.array([[400.0, 250.0], [250.0, 225.0]]), 3.0
    prior = prior_at(0, 0, 400.0, 250.0, 225.0)
    at = random.multivariate_normal([0, 0], covariance, 200_000) + random.normal(0, geotag_std, (200_000, 2))
    inside = np.einsum("ni,ij,nj->n", at, np.linalg.inv(ellipse(prior, geotag_std, 0.0)), at) <= 1
    assert inside.mean() == pytest.approx(0.999, abs=3e-4)


sizes = st.floats(0.5, 500.0)
angles = st.floats(0.0, math.pi)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sizes, sizes, angles, st.floats(0.0, 10.0), st.floats(0.0, 1000.0), st.integers(0, 99))
def test_wherever_it_drives_from_the_ellipse_it_stays_within_reach(long, short, angle, geotag, drive, seed):
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ np.diag([long**2, short**2]) @ turn.T
    prior = prior_at(0, 0, covariance[0, 0], covariance[0, 1], covariance[1, 1])
    start, way = np.random.default_rng(seed).uniform(0, 2 * math.pi, (2, 200))
    known = np.linalg.cholesky(ellipse(prior, geotag, 0.0))
    on_its_edge = np.stack([np.cos(start), np.sin(start)], axis=1) @ known.T
    driven = on_its_edge + drive * np.stack([np.cos(way), np.sin(way)], axis=1)
    shape = ellipse(prior, geotag, drive)
    assert (np.einsum("ni,ij,nj->n", driven, np.linalg.inv(shape), driven) <= 1 + 1e-9).all()


@given(sizes, st.floats(0.0, 10.0), st.floats(0.0, 1000.0))
def test_a_circle_grows_by_what_is_driven(std, geotag, drive):
    radius = math.sqrt(WITHIN * (std**2 + geotag**2)) + drive
    assert ellipse(prior_at(0, 0, std**2, 0.0, std**2), geotag, drive) == pytest.approx(
        radius**2 * np.eye(2), rel=1e-9
    )


# --- the places


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 999),
    st.tuples(st.floats(-900, 900), st.floats(-900, 900)),
    st.tuples(sizes, sizes, st.floats(-0.95, 0.95)),
    st.sampled_from([0.0, 1.0, 200.0]),
)
def test_every_place_inside_the_ellipse_is_within_reach_and_none_outside(seed, at, spread, drive):
    random = np.random.default_rng(seed)
    enu = np.column_stack([random.uniform(-1000, 1000, (300, 2)), np.zeros(300)])
    place_map = a_map(enu, geotag_std=5.0)
    east, north, correlated = spread
    prior = prior_at(*at, east**2, correlated * east * north, north**2)
    far = squared(prior, enu[:, :2] - at, 5.0, drive)
    assume((abs(far - 1) > ROUNDING).all())
    expected = np.flatnonzero(far < 1)
    found = within_reach(prior, place_map, drive)
    if found is None:
        assert len(expected) == len(place_map)
    else:
        assert sorted(found) == expected.tolist()
        assert len(found) < len(place_map)


def test_the_longer_ago_the_farther():
    place_map = a_map(in_a_row(2000, step=1.0), geotag_std=1.0)
    prior = prior_at(1000.0, 0.0, stamp=50 * SECOND)
    reach = math.sqrt(WITHIN * (100.0 + 1.0))
    for seconds in (0, 1, -1, 7, 29):
        drive = 15.0 * prior.age((50 + seconds) * SECOND)
        found = np.sort(within_reach(prior, place_map, drive))
        assert (found == np.arange(found[0], found[-1] + 1)).all()
        far = int(reach + 15.0 * abs(seconds))
        assert (found[0], found[-1]) == (1000 - far, 1000 + far)


def test_what_is_all_is_none_and_what_is_nothing_is_empty():
    place_map = a_map(in_a_row(50), geotag_std=1.0)
    assert within_reach(prior_at(250.0, 0.0, 1e6, 0.0, 1e6), place_map, 0.0) is None
    assert sorted(within_reach(prior_at(250.0, 0.0), place_map, 0.0)) == list(range(22, 29))
    for far in (5000.0, -5000.0):
        assert within_reach(prior_at(250.0, far), place_map, 0.0).tolist() == []
        assert within_reach(prior_at(250.0, far), place_map, 6000.0) is None


def test_the_antimeridian_is_a_line_like_any_other():
    place_map = a_map(in_a_row(60, step=10.0) - [300.0, 0.0, 0.0], datum=Datum(-17.0, 180.0, 0.0))
    for longitude in (-180.0, 180.0):
        found = within_reach(Prior(-17.0, longitude, 25.0, 0.0, 25.0), place_map, 0.0)
        assert sorted(found) == [28, 29, 30, 31, 32]


@pytest.mark.parametrize("k", [1, 5, 200])
def test_a_search_within_reach_is_the_search_of_all_without_the_others(k):
    random = np.random.default_rng(4)
    vectors = random.normal(size=(150, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(16)
    index.add(vectors)
    place_map = a_map(in_a_row(150), index=index)
    within = within_reach(prior_at(700.0, 0.0, 1e4, 0.0, 1e4), place_map, 0.0)
    assert 50 < len(within) < 100
    similarities, places = place_map.search(vectors[:9], k, within)
    every, ranked = place_map.search(vectors[:9], 150)
    for row in range(9):
        kept = np.isin(ranked[row], within)
        assert places[row].tolist() == ranked[row][kept][:k].tolist()
        np.testing.assert_allclose(similarities[row], every[row][kept][:k], atol=1e-6)


# --- which one counts


def test_what_was_heard_counts_before_what_is_given_until_it_is_old():
    heard, told = prior_at(0, 0, stamp=100 * SECOND), prior_at(900, 0)
    old = round(FORGET * SECOND)
    for after in (0, old, -old):
        assert prior_for(100 * SECOND + after, heard, told) is heard
    for after in (old + 1, -old - 1):
        assert prior_for(100 * SECOND + after, heard, told) is told
        assert prior_for(100 * SECOND + after, heard, None) is None
    assert prior_for(0, None, None) is None
    assert prior_for(10**18, None, told) is told


def test_what_is_given_does_not_age():
    assert prior_at(0, 0).age(10**18) == 0.0
    assert prior_at(0, 0, stamp=10 * SECOND).age(7 * SECOND) == 3.0


# --- what is no prior


def test_the_numbers_of_a_user():
    assert around([]) is None
    assert around([0.0, 0.0, 0.0]) is None
    assert around([48.5, 11.25, 30.0]) == Prior(48.5, 11.25, 900.0, 0.0, 900.0)
    assert around([0.0, 0.0, 1.0]) == Prior(0.0, 0.0, 1.0, 0.0, 1.0)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "wrong",
    [
        [48.0], [48.0, 11.0], [48.0, 11.0, 30.0, 1.0], [48.0, 11.0, 0.0], [48.0, 11.0, -1.0],
        [48.0, 11.0, NAN], [48.0, 11.0, INF], [48.0, 11.0, 1e200], [48.0, 11.0, 1e-200], [NAN, 11.0, 1.0],
        [48.0, NAN, 1.0], [90.1, 11.0, 1.0], [-90.1, 11.0, 1.0], [48.0, 180.1, 1.0], [48.0, -INF, 1.0],
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_are_no_position(wrong):
    with pytest.raises(InputError) as caught:
        around(wrong)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"var_east": 0.0}, {"var_north": 0.0}, {"var_east": -1.0, "var_north": -1.0},
        {"cov_east_north": 100.0}, {"var_east": NAN}, {"cov_east_north": NAN}, {"var_north": INF},
        {"latitude": NAN}, {"longitude": 200.0},
    ],
    ids=str,
)  # fmt: skip
def test_a_covariance_that_is_none(wrong):
    with pytest.raises(InputError, match="expected"):
        replace(prior_at(0.0, 0.0), **wrong)


# --- what a topic says


def a_fix(**others):
    """Return a fix of a receiver that knows how good it is."""
    fix = NavSatFix(latitude=48.5, longitude=11.25, altitude=NAN, position_covariance_type=3)
    fix.status.status = NavSatStatus.STATUS_FIX
    fix.position_covariance = [4.0, 1.0, NAN, 1.0, 9.0, NAN, NAN, NAN, -1.0]
    fix.header.stamp.sec = 7
    for name, value in others.items():
        setattr(fix, name, value)
    return fix


def test_a_fix_is_a_prior():
    assert prior_from_fix(a_fix(), 99) == Prior(48.5, 11.25, 4.0, 1.0, 9.0, 7 * SECOND)
    # what is unstamped is of now
    assert prior_from_fix(NavSatFix(**fields_of(a_fix(), but="header")), 99).stamp == 99


def fields_of(message, but):
    names = set(message.get_fields_and_field_types()) - {but}
    return {name: getattr(message, name) for name in names}


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"status": NavSatStatus(status=-1)}, "status -1: expected a fix"),
        ({"status": NavSatStatus(status=-2)}, "status -2: expected a fix"),
        ({"position_covariance_type": 0}, "position_covariance_type"),
        ({"position_covariance": [0.0] * 9}, "positive definite"),
        ({"position_covariance": [NAN] * 9}, "positive definite"),
        ({"latitude": NAN}, "latitude nan"),
        ({"longitude": INF}, "longitude inf"),
    ],
    ids=str,
)
def test_a_fix_that_is_none(wrong, what):
    with pytest.raises(InputError, match=what) as caught:
        prior_from_fix(a_fix(**wrong), 0)
    assert "\n" not in str(caught.value)
