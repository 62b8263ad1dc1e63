"""SIFT and RootSIFT: what they are made of, where dense ones lie, and how far each of them looks."""

import numpy as np
import pytest

from test.conftest import texture
from vpr_ros.encoders.local_features import BINS, DEPTH, FEATURES, local_features

STEP = 4


def grey(seed=0, height=96, width=120):
    return np.ascontiguousarray(texture(seed, height, width)[..., 0])


def dense(picture):
    """Return (scales, rows, columns, 128) features; the picture is even nowhere."""
    found = local_features("dense-rootsift", picture, STEP)
    rows, columns = (len(np.arange(15, side - 15, STEP)) for side in picture.shape)
    return found.reshape(len(BINS), rows, columns, DEPTH)


def noise(height=96, width=120):
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


@pytest.mark.parametrize("kind", FEATURES)
def test_features_are_of_unit_length(kind):
    found = local_features(kind, grey(), STEP)
    assert found.dtype == np.float32
    assert found.shape[1] == DEPTH
    assert len(found) > 20
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_rootsift_is_the_root_of_sift_of_sum_one():
    sift = local_features("sift", grey(), STEP)
    expected = np.sqrt(sift / sift.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(local_features("rootsift", grey(), STEP), expected, atol=1e-6)


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("level", [0, 128])
def test_where_nothing_is_shown_there_is_no_feature(kind, level):
    assert local_features(kind, np.full((64, 80), level, np.uint8), STEP).shape == (0, DEPTH)


def test_an_even_half_has_no_features():
    picture = noise()
    picture[:, 60:] = 90
    whole, half = (local_features("dense-rootsift", each, STEP) for each in (noise(), picture))
    assert 0.4 < len(half) / len(whole) < 0.8


def test_dense_features_move_with_the_picture():
    picture = noise()
    here, there = dense(picture), dense(np.roll(picture, (STEP, 2 * STEP), axis=(0, 1)))
    # away from the border, which is another
    np.testing.assert_allclose(there[:, 6:-5, 7:-5], here[:, 5:-6, 5:-7], atol=1e-4)
    assert np.abs(there[:, 6:-5, 7:-5] - here[:, 6:-5, 7:-5]).max() > 0.05


@pytest.mark.parametrize("scale", range(len(BINS)))
def test_a_feature_sees_its_4_by_4_bins_and_no_farther(scale):
    picture, size = noise(), BINS[scale]
    before = dense(picture)[scale, 8, 8]
    middle = 15 + 8 * STEP

    def changed(distance):
        other = picture.copy()
        other[middle, middle + distance] ^= 0x80
        return np.abs(dense(other)[scale, 8, 8] - before).max()

    assert changed(round(1.9 * size)) > 1e-3
    # half a bin is interpolated, and the smoothing reaches a little
    assert changed(round(2.5 * size) + 2 + round(4 * size / 6)) < 1e-6
