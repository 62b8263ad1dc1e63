"""The picture of a place that a map keeps is small, wherever it is made."""

import cv2
import numpy as np
import torch

from test.conftest import texture
from vpr_ros.images.pixels import rgb_from_file
from vpr_ros.images.small_picture import PICTURE_WIDTH, shrink, shrink_planes, small_jpeg


def test_pictures_are_small():
    assert shrink(texture(0, 480, 960)).shape == (PICTURE_WIDTH // 2, PICTURE_WIDTH, 3)
    assert shrink(texture(0, 50, PICTURE_WIDTH)).shape == (50, PICTURE_WIDTH, 3)
    assert shrink(texture(0, 1, 2000)).shape == (1, PICTURE_WIDTH, 3)
    image = texture(3, 480, 960)
    assert np.abs(shrink(image)[::10, ::10].astype(int) - image[::40, ::40]).mean() < 25


def test_a_jpeg_of_that_width():
    assert rgb_from_file(small_jpeg(texture(0, 480, 640), 120)).shape == (90, 120, 3)


def test_a_batch_of_planes_looks_alike():
    images = np.stack([cv2.GaussianBlur(texture(seed, 480, 640), (0, 0), 4) for seed in range(3)])
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    small = shrink_planes(planes, PICTURE_WIDTH)
    assert small.flags.c_contiguous  # as OpenCV takes them
    for one, image in zip(small, images, strict=True):
        assert np.abs(one.astype(int) - shrink(image)).mean() < 1
    np.testing.assert_array_equal(shrink_planes(planes, 640), images)  # small enough as they are
    assert shrink_planes(planes[..., :1, :], PICTURE_WIDTH).shape == (3, 1, PICTURE_WIDTH, 3)
