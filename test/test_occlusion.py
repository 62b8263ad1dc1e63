"""Heat of an image: where the squares lie, what they change, and that it is drawn where they lay."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from test.conftest import texture
from test.error_lines import input_error
from vpr_ros.open_engine import open_engine
from vpr_ros.pages.heat_overlay import OPACITY, one_scale, overlay, spread
from vpr_ros.pages.occlusion import GREY, LARGEST, Heat, heat_of, squares_on


class Linear:
    """Stands for an engine: two numbers, each a fixed linear function of an image's pixels."""

    device = torch.device("cpu")

    def __init__(self, *weights):
        self.weights = np.stack(weights)

    def fit(self, image):
        height, width = self.weights.shape[1:]
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def encode(self, images):
        return np.einsum("nhwc,phw->np", np.stack(images) / 255.0, self.weights).astype(np.float32)


# --- the squares


def test_of_the_papers_images_there_are_seventy():
    squares = squares_on(480, 640)
    assert squares.side == 100
    assert squares.tops.tolist() == list(range(40, 341, 50))
    assert squares.lefts.tolist() == list(range(45, 496, 50))


@settings(deadline=None)
@given(some.integers(14, 700), some.integers(14, 700), some.integers(100, LARGEST))
def test_squares_of_any_picture_touch_no_edge_and_lie_in_its_middle(height, width, square):
    squares = squares_on(height, width, square)
    assert squares.side % 2 == 0
    for starts, length in ((squares.tops, height), (squares.lefts, width)):
        assert (np.diff(starts) == squares.side // 2).all()
        before, after = starts[0], length - (starts[-1] + squares.side)
        assert after - before in (0, 1)
        # half a stride at least on each side, and no room for one more
        assert squares.side // 4 <= before <= squares.side // 2


@pytest.mark.parametrize("square", [-1000, -1, 0, 3, 241, 10**9])
def test_a_square_that_does_not_fit_is_refused(square):
    with input_error(square, "320x240", f"expected 4 to {LARGEST}"):
        squares_on(240, 320, square)
    for fitting in (4, LARGEST):
        squares_on(240, 320, fitting)


# --- the heat


def test_heat_is_where_the_encoder_looks_and_nowhere_else():
    region = np.zeros((48, 64))
    region[10:20, 30:43] = 1.0
    engine = Linear(region / region.sum(), np.zeros_like(region))
    image = np.full((48, 64, 3), GREY, np.uint8)
    image[8:30, 20:50] = 240
    heat = heat_of(engine, image)
    squares = heat.squares
    assert heat.values.dtype == np.float32
    assert heat.values.shape == (len(squares.tops), len(squares.lefts))
    for (row, column), value in np.ndenumerate(heat.values):
        top, left = squares.tops[row], squares.lefts[column]
        hidden = region[top : top + squares.side, left : left + squares.side].mean() * squares.side**2
        assert value == pytest.approx(3 * (240 - GREY) / 255 * hidden / region.sum(), abs=1e-5)
    assert (heat.values == 0).any()


def test_towards_a_descriptor_it_is_what_the_similarity_loses():
    left, right = np.zeros((48, 64)), np.zeros((48, 64))
    left[:, :32], right[:, 32:] = 1 / 64, -1 / 64
    image = np.full((48, 64, 3), 200, np.uint8)
    engine = Linear(left, right)
    towards = np.array([0.8, 0.6], np.float32)
    values = heat_of(engine, image, towards).values
    assert (values[:, 0] > 0).all()  # it makes them alike
    assert (values[:, -1] < 0).all()  # it makes them differ
    assert values[0, 0] / -values[0, -1] == pytest.approx(0.8 / 0.6, rel=1e-4)


@pytest.mark.parametrize("towards", [False, True])
def test_what_is_grey_already_changes_nothing(weights, towards):
    engine = open_engine(weights, "cpu")
    descriptor = engine.encode([texture(1)])[0] if towards else None
    heat = heat_of(engine, np.full((100, 131, 3), GREY, np.uint8), descriptor)
    assert np.abs(heat.values).max() < 1e-5
    assert np.isfinite(overlay(texture(1), heat, one_scale([heat], towards))).all()


@pytest.mark.parametrize("shape", [(64, 85), (97, 131), (120, 64)])
def test_in_batches_it_is_what_it_is_one_by_one(weights, shape):
    engine = open_engine(weights, "cpu")
    image = texture(3, *shape)
    fitted = engine.fit(image)
    heat = heat_of(engine, image)
    whole = engine.encode([image])[0]
    squares = heat.squares
    for row, column in ((0, 0), (1, 3), (-1, -1)):
        hidden = fitted.copy()
        top, left = squares.tops[row], squares.lefts[column]
        hidden[top : top + squares.side, left : left + squares.side] = GREY
        expected = np.linalg.norm(whole - engine.encode([hidden])[0])
        assert heat.values[row, column] == pytest.approx(expected, rel=1e-3)
        assert expected > 1e-3
    assert np.array_equal(image, texture(3, *shape)), "the image itself is left as it is"


# --- over a picture


@pytest.mark.parametrize("shape", [(48, 64), (96, 128), (97, 131), (31, 33)])
def test_colour_ends_where_squares_end_and_a_value_stands_at_its_centre(shape):
    squares = squares_on(48, 64)
    values = np.random.default_rng(0).uniform(1, 2, (len(squares.tops), len(squares.lefts)))
    drawn = spread(Heat(squares, values.astype(np.float32)), *shape)
    assert drawn.shape == shape
    inside = []
    for starts, length, pixels in zip((squares.tops, squares.lefts), (48, 64), shape, strict=True):
        middles = (np.arange(pixels) + 0.5) * length / pixels
        inside.append((middles >= starts[0]) & (middles <= starts[-1] + squares.side))
    assert np.array_equal(~np.isnan(drawn), np.outer(*inside))
    corner = drawn[tuple(np.flatnonzero(each)[0] for each in inside)]
    assert corner == pytest.approx(values[0, 0])  # held
    if shape == (96, 128):  # twice as large: between four pixels lies the centre of a square
        row, column = (2 * (starts[2] + squares.side // 2) for starts in (squares.tops, squares.lefts))
        four = drawn[row - 1 : row + 1, column - 1 : column + 1]
        assert four.mean() == pytest.approx(values[2, 2], abs=0.05)
        assert np.ptp(four) < 0.3


@pytest.mark.parametrize("scale", [1, 2, 3.37])
@pytest.mark.parametrize("corner", [(72, 80), (81, 133), (93, 100)])
def test_heat_lies_on_the_blob_that_makes_it(scale, corner):
    # as wide as the stride, so that the squares that hide it balance on its centre; none of them outermost
    top, left = corner
    engine = Linear(np.ones((240, 320)) / 1000, np.zeros((240, 320)))
    fitted = np.full((240, 320, 3), GREY, np.uint8)
    fitted[top : top + 25, left : left + 25] = 255
    heat = heat_of(engine, fitted)
    height, width = round(240 * scale), round(320 * scale)
    picture = np.full((height, width, 3), GREY, np.uint8)
    greys = ScalarMappable(Normalize(0, heat.values.max()), "gray")
    drawn = overlay(picture, heat, greys)[..., 0].astype(float)
    lift = drawn - (1 - OPACITY) * GREY
    lift[np.isnan(spread(heat, height, width))] = 0
    rows, columns = np.indices(lift.shape) + 0.5
    centre = (lift * rows).sum() / lift.sum(), (lift * columns).sum() / lift.sum()
    expected = (top + 12.5) * height / 240, (left + 12.5) * width / 320
    assert centre == pytest.approx(expected, abs=0.25 * scale)


def test_what_no_square_hid_stays_grey():
    image = texture(5, 240, 320)
    squares = squares_on(240, 320)
    heat = Heat(squares, np.ones((len(squares.tops), len(squares.lefts)), np.float32))
    drawn = overlay(image, heat, one_scale([heat], signed=False))
    border = np.ones((240, 320), bool)
    border[squares.tops[0] : squares.tops[-1] + squares.side, squares.lefts[0] :][
        :, : squares.lefts[-1] + squares.side - squares.lefts[0]
    ] = False
    assert np.array_equal(
        drawn[border], np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[border, None], 3, 1)
    )
    assert (np.ptp(drawn[~border], axis=1) > 20).all()


def test_one_scale_reaches_to_the_largest_of_all():
    squares = squares_on(48, 64)
    heats = [Heat(squares, np.full((7, 10), value, np.float32)) for value in (-3.0, 2.0)]
    for signed, low in ((False, 0.0), (True, -3.0)):
        colours = one_scale(heats, signed)
        assert (colours.norm.vmin, colours.norm.vmax) == (low, 3.0)
