"""A camera's image is the same picture in whatever order its channels lie."""

import numpy as np
import pytest

from vpr_ros.images.camera_image import BGR, GREY, RGB, CameraImage

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
ALPHA = np.full((6, 9, 1), 77, np.uint8)


@pytest.mark.parametrize(
    ("pixels", "order"),
    [
        (PICTURE, RGB),
        (PICTURE[..., ::-1].copy(), BGR),
        (np.concatenate([PICTURE, ALPHA], axis=2), RGB),
        (np.concatenate([PICTURE[..., ::-1], ALPHA], axis=2), BGR),
    ],
)
def test_colours(pixels, order):
    np.testing.assert_array_equal(CameraImage(pixels, order).rgb(), PICTURE)


def test_grey():
    grey = PICTURE[..., :1]
    np.testing.assert_array_equal(CameraImage(grey, GREY).rgb(), grey.repeat(3, axis=2))


def test_padded_rows():
    padded = np.zeros((6, 12, 3), np.uint8)
    padded[:, :9] = PICTURE[..., ::-1]
    np.testing.assert_array_equal(CameraImage(padded[:, :9], BGR).rgb(), PICTURE)


def test_rgb_is_not_copied():
    assert CameraImage(PICTURE).rgb() is PICTURE


@pytest.mark.parametrize(("channels", "order"), [(1, RGB), (2, RGB), (3, GREY), (5, BGR), (3, (1, 0, 2))])
def test_what_no_camera_sends(channels, order):
    with pytest.raises(ValueError, match=f"{channels} channels"):
        CameraImage(np.zeros((2, 2, channels), np.uint8), order)
