"""A drive seen from above: what is drawn where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from test.conftest import DATUM
from test.some_answers import STEP, answer, unanswered, without_truth
from vpr_ros.pages.track_chart import CLOSE, ELLIPSES, RIGHT, TRUTH, UNMAPPED, WRONG, colour_of, draw_track
from vpr_ros.replays.frame_arrays import as_arrays
from vpr_ros.replays.reliability import ellipse_scale


def drawn(answers):
    axis = Figure().add_subplot()
    draw_track(axis, as_arrays(answers), np.zeros((3, 3)), DATUM)
    return axis


def line(axis, colour, marker="None"):
    """Return the (N, 2) points of the lines of this colour."""
    found = [each for each in axis.lines if to_hex(each.get_color()) == colour.lower()]
    return np.concatenate([each.get_xydata() for each in found if each.get_marker() == marker])


def test_the_truth_is_cut_where_the_robot_was_carried():
    axis = drawn([answer(0), answer(1), answer(2, at=900.0), answer(3, at=905.0)])
    assert np.isnan(line(axis, TRUTH)[:, 0]).tolist() == [False, False, True, False]
    assert line(axis, TRUTH)[3] == pytest.approx([905.0, 0.0], abs=1e-3)


def test_what_the_map_does_not_know_stands_out():
    axis = drawn([answer(0), answer(1, mapped_m=40.0), without_truth(2)])
    assert np.isnan(line(axis, UNMAPPED)[:, 0]).tolist() == [True, False, True]


def test_answers_have_the_colour_of_their_error():
    axis = drawn(
        [answer(0, 10.0), answer(1, 25.0), answer(2, 26.0), answer(3, 99.0, accepted=False), unanswered(4)]
    )
    assert line(axis, RIGHT, "o")[:, 0] == pytest.approx([10.0], abs=1e-3)
    assert line(axis, CLOSE, "o")[:, 0] == pytest.approx([STEP + 25.0], abs=1e-3)
    assert sorted(line(axis, WRONG, "o")[:, 0]) == pytest.approx([2 * STEP + 26.0, 3 * STEP + 99.0], abs=1e-2)
    assert [colour_of(metres) for metres in (10.0, 10.1, 25.1)] == [RIGHT, CLOSE, WRONG]


def test_the_ellipse_of_a_fix_ends_where_95_percent_do():
    covariance = np.array([[16.0, 5.0], [5.0, 4.0]])
    fix = replace(answer(0, 2.0, 1.0), var_east=16.0, cov_east_north=5.0, var_north=4.0)
    (outline,) = drawn([fix, answer(1, accepted=False)]).collections[-1].get_segments()
    offset = outline - [2.0, 1.0]
    squared = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
    assert squared == pytest.approx(ellipse_scale(0.95) ** 2, rel=1e-3)


def test_a_long_drive_shows_some_of_its_ellipses():
    assert len(drawn([answer(n) for n in range(300)]).collections[-1].get_segments()) == ELLIPSES


@pytest.mark.parametrize("answers", [[], [unanswered(0)], [without_truth(0)]])
def test_nothing_to_draw(answers):
    assert len(drawn(answers).lines) > 0
