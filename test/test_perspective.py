"""Views of panoramas against what a camera sees of the same scene, computed direction by direction."""

import cv2
import numpy as np
import pytest

from test.error_lines import input_error
from test.small_panorama import directions_of, panorama, scene, view_directions
from vpr_ros.images.perspective import Pinhole, closed, look

CAMERA = Pinhole(160, 120, 60.0)
WHOLE = closed(panorama(512))


@pytest.mark.parametrize("heading", [0, 30, 137.25, 180, -90, 359])
@pytest.mark.parametrize("pitch", [0, 4, 26.5, -45, 90, -90])
def test_a_view_is_what_a_camera_sees(heading, pitch):
    seen = look(WHOLE, CAMERA, heading, pitch)
    expected = scene(view_directions(160, 120, 60.0, heading, pitch))
    assert seen.shape == (120, 160, 3)
    error = np.abs(seen - expected)
    assert error.mean() < 0.5
    assert error.max() < 2  # at the seam and at the poles, too


@pytest.mark.parametrize(("width", "height", "fov"), [(64, 96, 20.0), (320, 200, 110.0), (51, 33, 90.0)])
def test_any_camera(width, height, fov):
    seen = look(WHOLE, Pinhole(width, height, fov), 100, -20)
    expected = scene(view_directions(width, height, fov, 100, -20))
    # a pixel is a mean: of a wide one that of the scene is not the one of its middle
    assert np.abs(seen - expected).mean() < 1


@pytest.mark.parametrize("heading", [10.3, 179.9, 270])
@pytest.mark.parametrize("pitch", [-60, 0, 33.3])
def test_the_optical_axis_is_in_the_middle(heading, pitch):
    axis = view_directions(1, 1, 60.0, heading, pitch)[0, 0]
    apart = np.arccos(np.clip(directions_of(512) @ axis, -1, 1))
    lamp = 255 * np.exp(-0.5 * (apart / 0.02) ** 2)
    seen = look(closed(np.repeat(lamp[..., None], 3, axis=-1).astype(np.uint8)), CAMERA, heading, pitch)
    light = seen[..., 0].astype(float)
    x, y = np.arange(160) + 0.5, np.arange(120) + 0.5
    assert (light.sum(axis=0) @ x) / light.sum() == pytest.approx(80, abs=0.1)
    assert (light.sum(axis=1) @ y) / light.sum() == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("turns", [-1, 1, 7])
def test_whole_turns_change_nothing(turns):
    there, again = look(WHOLE, CAMERA, 200, 10), look(WHOLE, CAMERA, 200 + 360 * turns, 10)
    assert (there == again).all()


@pytest.mark.parametrize("columns", [1, 300, 1023])
def test_a_turned_panorama_is_a_turned_camera(columns):
    turned = closed(np.roll(panorama(512), -columns, axis=1))
    expected = look(WHOLE, CAMERA, 15 + 360 * columns / 1024, 26.5)
    assert np.abs(look(turned, CAMERA, 15, 26.5).astype(int) - expected).max() <= 1


def test_what_is_too_fine_for_a_view_is_grey_and_no_pattern():
    stripes = np.zeros((512, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    seen = look(closed(stripes), Pinhole(60, 40, 60.0), 45, 0)
    assert seen.mean() == pytest.approx(127.5, abs=2)
    assert seen.std() < 25  # of every other sample alone it would be above 70


def test_beyond_an_edge_comes_what_is_there_on_the_sphere():
    small = np.repeat(np.arange(8, dtype=np.uint8).reshape(2, 4, 1), 3, axis=2)
    assert closed(small)[..., 0].tolist() == [
        [2, 3, 0, 1, 2],  # across the zenith, half a turn further
        [0, 1, 2, 3, 0],
        [4, 5, 6, 7, 4],
        [6, 7, 4, 5, 6],
    ]


@pytest.mark.parametrize("shape", [(100, 100), (100, 201), (99, 200), (1, 1)])
def test_what_is_no_panorama(shape):
    with input_error(f"{shape[1]}x{shape[0]}", "twice as wide as high"):
        closed(np.zeros((*shape, 3), np.uint8))


def test_a_panorama_is_no_wider_than_opencv_takes():
    with input_error("32766 pixels wide", "at most 32765", "smaller"):
        closed(np.broadcast_to(np.zeros(3, np.uint8), (16383, 32766, 3)))
    middle = np.full((1, 1), 16000.5, np.float32)
    widest = np.full((4, 32765, 3), 7, np.uint8)  # a closed one of 32764
    assert (cv2.remap(widest, middle, 0 * middle, cv2.INTER_LINEAR) == 7).all()


@pytest.mark.parametrize(
    ("camera", "parts"),
    [
        ((0, 480, 60.0), ("0x480", "1 to 4096")),
        ((640, 5000, 60.0), ("640x5000", "1 to 4096")),
        ((640, 480, 0.5), ("0.5 degrees", "1 to 120")),
        ((640, 480, 180.0), ("180 degrees", "1 to 120")),
        ((640, 480, float("nan")), ("nan degrees",)),
        ((480, 1000, 100.0), ("top to bottom", "less height")),
    ],
)
def test_cameras_that_cannot_be(camera, parts):
    with input_error(*parts):
        Pinhole(*camera)
