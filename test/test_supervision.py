"""What geotags say of two images, against the recipe's rules on a plane where distances are exact."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.error_lines import input_error
from test.sharing import rows_at
from training.learning import supervision
from training.learning.supervision import SESSIONS, Radii, Supervision
from vpr_ros.geodesy import Datum
from vpr_ros.geotagged import make_rows

few = settings(max_examples=60, deadline=None, derandomize=True)


def on_a_plane(metres, sessions, radii):
    """Return the supervision of images at integer metres, so that one can be exactly at a radius."""
    metres = np.asarray(metres, float).reshape(-1, 2)
    rows = make_rows("here", latitude=metres[:, 0], longitude=metres[:, 1], session=list(sessions))

    def flat(latitude, longitude):
        return np.stack([latitude, longitude, np.zeros(len(latitude))], axis=-1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervision, "to_ecef", flat)
        return Supervision(rows, radii)


def rules(metres, sessions, radii):
    """Return the potential positives and the definite negatives of each image, pair by pair."""
    positives, negatives = [], []
    for query, here in enumerate(metres):
        near, far = [], []
        for image, there in enumerate(metres):
            away, other = math.dist(here, there), sessions[image] != sessions[query]
            if image != query and away <= radii.positive and (other or away > radii.trivial):
                near.append(image)
            if away > radii.negative:
                far.append(image)
        others = [image for image in near if sessions[image] != sessions[query]]
        positives.append(others if others and radii.sessions in ("other", "drawn", "map") else near)
        negatives.append(far)
    return positives, negatives


@st.composite
def drives(draw):
    metres = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=2, max_size=14))
    sessions = draw(st.lists(st.sampled_from(["", "a", "b"]), min_size=len(metres), max_size=len(metres)))
    return metres, sessions


@few
@given(drive=drives(), kind=st.sampled_from(SESSIONS), trivial=st.sampled_from([0.0, 1.0]))
def test_every_pair_is_judged_by_the_rules(drive, kind, trivial):
    metres, sessions = drive
    # at 5 and 10 m there are pairs exactly at the radius, such as (3, 4) and (6, 8)
    radii = Radii(5.0, trivial, 10.0, kind)
    positives, negatives = rules(metres, sessions, radii)
    has_positive, has_negative = ([len(each) > 0 for each in lists] for lists in (positives, negatives))
    queries = [row for row in range(len(metres)) if has_positive[row] and has_negative[row]]
    lacking = has_positive.count(False)
    only_negative_lacking = len(metres) - lacking - len(queries)
    if not queries:
        counts = f"none of {len(metres)} images", f"({lacking} have not)", f"({only_negative_lacking} more"
        with input_error("5 m", "10 m", "give drives", *counts):
            on_a_plane(metres, sessions, radii)
        return
    found = on_a_plane(metres, sessions, radii)
    assert [rows.tolist() for rows in found.positives] == positives
    assert found.queries.tolist() == queries
    assert (found.no_positive, found.no_negative) == (lacking, only_negative_lacking)
    for row, far in enumerate(negatives):
        assert sorted({*range(len(metres))} - set(found.near(row).tolist())) == far
        assert sorted(found.draw_negatives(row, len(metres), np.random.default_rng(0))) == far


def test_the_radii_themselves():
    """Copies are dropped up to 1 m, positives reach to 10 m, both included; negatives begin beyond 25 m."""
    metres = [(0, 0), (1, 0), (2, 0), (6, 8), (0, 11), (15, 20), (0, 26), (0, 0)]
    sessions = ["a", "a", "a", "a", "a", "a", "a", "b"]
    found = on_a_plane(metres, sessions, Radii())
    assert found.positives[0].tolist() == [2, 3, 7]  # 7 is where 0 is, in another session
    assert found.draw_negatives(0, 99, np.random.default_rng(0)).tolist() == [6]


def test_only_other_sessions_where_they_have_been_there():
    metres = [(0, 0), (3, 0), (0, 3), (50, 0), (53, 0)]
    sessions = ["a", "a", "b", "a", "a"]
    assert on_a_plane(metres, sessions, Radii()).positives[0].tolist() == [1, 2]
    other = on_a_plane(metres, sessions, Radii(sessions="other"))
    assert [rows.tolist() for rows in other.positives] == [[2], [2], [0, 1], [4], [3]]


def test_images_of_unknown_session_are_of_one():
    metres = [(0, 0), (0, 1), (0, 2), (50, 0)]
    assert on_a_plane(metres, [""] * 4, Radii()).positives[0].tolist() == [2]


def test_real_metres_on_the_ground():
    """At 60 degrees north, across the antimeridian, where a degree of longitude is short and jumps."""
    east = np.array([0, 9.99, 10.01, 24.99, 25.01, -9.99, -25.01])
    found = Supervision(rows_at(np.column_stack([east, 0 * east]), datum=Datum(60.0, 180.0)), Radii())
    assert found.positives[0].tolist() == [1, 5]
    assert found.draw_negatives(0, 99, np.random.default_rng(0)).tolist() == [4, 6]


# --- what is drawn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drawn", "map"])
def test_a_drawn_session_is_another_one_and_each_as_often(kind):
    """However many images it has here: by night there may be fewer than in the same light."""
    metres = [(0, 0), *[(0, 2)] * 6, (2, 0), (0, 3), (50, 0)]
    sessions = ["a", *["b"] * 6, "c", "a", "a"]
    found = on_a_plane(metres, sessions, Radii(sessions=kind))
    random = np.random.default_rng(0)
    drawn = [found.draw_session(0, random) for _ in range(400)]
    assert set(drawn) == {"b", "c"}
    assert 160 < drawn.count("c") < 240  # four standard deviations
    assert found.positives_in(0, "b").tolist() == [1, 2, 3, 4, 5, 6]
    assert found.positives_in(0, "c").tolist() == [7]


@pytest.mark.parametrize("kind", ["any", "other"])
def test_no_session_is_drawn_where_none_is_asked_for(kind):
    metres, sessions = [(0, 0), (0, 2), (2, 0), (50, 0)], ["a", "b", "c", "a"]
    found = on_a_plane(metres, sessions, Radii(sessions=kind))
    session = found.draw_session(0, np.random.default_rng(0))
    assert found.positives_in(0, session).tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["drawn", "map"])
def test_where_no_other_session_was_its_own_will_do(kind):
    metres, sessions = [(0, 0), (0, 2), (0, 4), (50, 0), (50, 5)], ["a", "a", "a", "b", "a"]
    found = on_a_plane(metres, sessions, Radii(sessions=kind))
    random = np.random.default_rng(0)
    session = found.draw_session(0, random)
    assert found.positives_in(0, session).tolist() == [1, 2]
    assert sorted(found.draw_negatives(0, 99, random, session)) == [3, 4]


def test_negatives_are_of_the_map_where_a_session_is_one():
    """A query is looked for on the map of one session; where that one is all near, others have to do."""
    metres = [(0, 0), (0, 2), (0, 4), *((50, row) for row in range(6)), (60, 0)]
    sessions = ["a", "b", "c", "a", "b", "a", "b", "a", "b", "b"]
    found = on_a_plane(metres, sessions, Radii(sessions="map"))
    random = np.random.default_rng(0)
    assert sorted(found.draw_negatives(0, 99, random, "b")) == [4, 6, 8, 9]
    assert set(found.draw_negatives(0, 2, random, "b")) < {4, 6, 8, 9}
    assert sorted(found.draw_negatives(0, 99, random, "c")) == [3, 4, 5, 6, 7, 8, 9]
    only_positives = on_a_plane(metres, sessions, Radii(sessions="drawn"))
    assert sorted(only_positives.draw_negatives(0, 99, random, "b")) == [3, 4, 5, 6, 7, 8, 9]


def test_every_definite_negative_is_drawn_as_often_and_none_twice():
    metres = [(0, 0), (0, 3), *((30 + row, 0) for row in range(20))]
    found = on_a_plane(metres, ["a"] * 22, Radii())
    random = np.random.default_rng(0)
    counts = np.zeros(22, int)
    for _ in range(2000):
        drawn = found.draw_negatives(0, 5, random)
        assert len(set(drawn.tolist())) == 5
        counts[drawn] += 1
    assert counts[:2].sum() == 0
    deviation = math.sqrt(2000 * 0.25 * 0.75)
    assert np.abs(counts[2:] - 500).max() < 4 * deviation


# --- options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "radii", [(10, 10, 25), (10, -1, 25), (26, 1, 25), (math.nan, 1, 25), (10, 1, math.nan)]
)
def test_radii_that_contradict_each_other(radii):
    with input_error(f"{radii[0]:g}", f"{radii[1]:g}", f"{radii[2]:g} m", "trivial < positive <= negative"):
        Radii(*radii)


def test_unknown_sessions_name_those_there_are():
    with input_error("'night'", ", ".join(SESSIONS)):
        Radii(sessions="night")


def test_no_images():
    with input_error("none of 0 images"):
        Supervision(make_rows("here", latitude=[], longitude=[]), Radii())
