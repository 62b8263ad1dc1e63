"""Random changes of training images: torchvision's where it has them, the drawn numbers in their bounds."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from test.error_lines import input_error
from training.learning.augmentation import Augmentation, Changes, apply_changes, draw_changes

few = settings(max_examples=40, deadline=None, derandomize=True)
BRIGHTNESS, CONTRAST, SATURATION, RED, GREEN, BLUE = range(6)
shares = st.sampled_from([0.0, 0.1, 0.5])


def noise(count=3, height=20, width=30, seed=0):
    """Return uint8 images without a smooth spot."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=random, dtype=torch.uint8)


def changes(count, factors=None, sigma=0.0, window=(0.0, 0.0, 1.0)):
    """Return changes of which all are nothing but those given, by number or one for all."""
    made = np.ones((count, 6), np.float32)
    for number, factor in (factors or {}).items():
        made[:, number] = factor
    sigma = np.broadcast_to(np.float32(sigma), count).copy()
    return Changes(made, sigma, np.broadcast_to(np.float32(window), (count, 3)).copy())


def drawn(options, tuples, seed=0):
    return draw_changes(options, np.asarray(tuples, np.intp), np.random.default_rng(seed))


# --- what is done -----------------------------------------------------------------------------------------


def test_nothing_is_changed_by_default():
    images = noise()
    unchanged = apply_changes(images, drawn(Augmentation(), [0, 0, 1]))
    assert torch.equal(unchanged, images.float() / 255)


@pytest.mark.parametrize("factor", [0.3, 0.9, 1.7])
@pytest.mark.parametrize(
    ("number", "theirs"),
    [
        (BRIGHTNESS, tv.adjust_brightness),
        (CONTRAST, tv.adjust_contrast),
        (SATURATION, tv.adjust_saturation),
    ],
)
def test_brightness_contrast_and_saturation_are_torchvisions(number, theirs, factor):
    images = noise()
    found = apply_changes(images, changes(3, {number: factor}))
    # its red counts 0.2989 for grey, not 0.299
    torch.testing.assert_close(found, theirs(images.float() / 255, factor), atol=1e-4, rtol=0)


def test_each_of_them_is_done_to_what_the_one_before_left_within_0_and_1():
    images = noise()
    found = apply_changes(images, changes(3, {BRIGHTNESS: 1.6, CONTRAST: 1.5, SATURATION: 0.4}))
    expected = tv.adjust_contrast(tv.adjust_brightness(images.float() / 255, 1.6), 1.5)
    torch.testing.assert_close(found, tv.adjust_saturation(expected, 0.4), atol=2e-4, rtol=0)


@pytest.mark.parametrize("number", [RED, GREEN, BLUE])
def test_a_channel_is_multiplied_alone(number):
    images = noise()
    expected = images.float() / 255
    expected[:, number - RED] = (expected[:, number - RED] * 1.3).clamp(max=1)
    found = apply_changes(images, changes(3, {number: 1.3}))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7])
def test_blur_is_torchvisions(sigma):
    images = noise(height=24, width=31)
    size = 2 * math.ceil(3 * sigma) + 1
    expected = tv.gaussian_blur(images.float() / 255, [size, size], [sigma, sigma])
    torch.testing.assert_close(apply_changes(images, changes(3, sigma=sigma)), expected, atol=1e-5, rtol=0)


def test_each_image_is_blurred_by_its_own_sigma():
    images, sigmas = noise(4, height=40, width=40), [0.0, 0.7, 2.0, 4.0]
    found = apply_changes(images, changes(4, sigma=sigmas))
    for image, sigma, blurred in zip(images.float() / 255, sigmas, found, strict=True):
        size = [2 * math.ceil(3 * sigma) + 1] * 2
        expected = tv.gaussian_blur(image, size, [sigma, sigma]) if sigma else image
        # but for the kernels' ends, see below
        torch.testing.assert_close(blurred, expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 64)])
def test_blur_wider_than_the_image(size):
    flat = torch.full((1, 3, *size), 77, dtype=torch.uint8)
    blurred = apply_changes(flat, changes(1, sigma=20.0))
    torch.testing.assert_close(blurred, flat / 255, atol=1e-5, rtol=0)
    mixed = apply_changes(noise(1, *size), changes(1, sigma=20.0))
    assert -1e-6 <= mixed.min() <= mixed.max() <= 1 + 1e-6


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(0, 0, 12, 18), (8, 12, 12, 18), (3, 7, 10, 15)]
)
def test_a_crop_is_the_enlarged_window(top, left, height, width, flip):
    images = noise()
    size = height / 20
    assert size == width / 30
    centre_x, centre_y = (2 * left + width) / 30 - 1, (2 * top + height) / 20 - 1
    window = centre_x, centre_y, -size if flip else size
    found = apply_changes(images, changes(3, window=window))
    expected = tv.resized_crop(images.float() / 255, top, left, height, width, [20, 30])
    expected = expected.flip(3) if flip else expected
    # at its rim torchvision repeats the window's last pixel, where we take what lies beyond
    rim = 2
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    torch.testing.assert_close(found[inner], expected[inner], atol=1e-4, rtol=0)


def test_a_flip_is_a_mirror_and_leaves_its_neighbours():
    images = noise(2, height=21, width=33)
    found = apply_changes(images, changes(2, window=[(0, 0, -1), (0, 0, 1)]))
    expected = torch.stack([images[0].flip(2), images[1]]) / 255
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@few
@given(seed=st.integers(0, 999), colour=st.sampled_from([0.3, 3.0]), blur=st.sampled_from([0.0, 2.0]))
def test_all_together_stay_in_0_to_1_and_each_image_is_changed_on_its_own(seed, colour, blur):
    images, options = noise(seed=seed), Augmentation(colour, blur, crop=0.3, flip=True)
    made = drawn(options, [0, 0, 1], seed)
    together = apply_changes(images, made)
    assert torch.isfinite(together).all()
    assert -1e-6 <= together.min() <= together.max() <= 1 + 1e-6
    for number in range(3):
        alone = apply_changes(images[number : number + 1], made.of(np.array([number])))
        # but for the ends of a blur's kernel: see below
        torch.testing.assert_close(together[number], alone[0], atol=5e-3 if blur else 1e-4, rtol=0)


def test_a_blur_does_not_depend_on_the_images_beside_it():
    """Which ones these are depends on the number of devices, and two must learn what one does."""
    images = noise(2, height=40, width=40)
    made = changes(2, sigma=[1.0, 4.0])
    together, alone = apply_changes(images, made), apply_changes(images[:1], made.of(np.array([0])))
    torch.testing.assert_close(together[0], alone[0], atol=1e-5, rtol=0)


# --- what is drawn ----------------------------------------------------------------------------------------


@few
@given(
    colour=shares,
    blur=st.sampled_from([0.0, 3.0]),
    crop=shares,
    flip=st.booleans(),
    tuples=st.lists(st.integers(0, 5), max_size=30),
    seed=st.integers(0, 99),
)
def test_changes_stay_within_what_was_asked_for(colour, blur, crop, flip, tuples, seed):
    options, count = Augmentation(colour, blur, crop, flip), len(tuples)
    assert bool(options) == any([colour, blur, crop, flip])
    made = drawn(options, tuples, seed)
    logs = np.abs(np.log(made.factors.astype(float)))
    assert logs.shape == (count, 6)
    assert (logs <= np.array([1, 1, 1, 0.25, 0.25, 0.25]) * colour + 1e-6).all()
    assert made.sigma.shape == (count,)
    assert ((made.sigma >= 0) & (made.sigma <= blur)).all()
    assert made.window.shape == (count, 3)
    size = np.abs(made.window[:, 2])
    assert ((size >= 1 - crop - 1e-6) & (size <= 1)).all()
    assert (np.abs(made.window[:, :2]) + size[:, None] <= 1 + 1e-6).all()  # nothing beyond the image
    for each in set(tuples):
        sides = np.sign(made.window[np.array(tuples) == each, 2])
        assert len(set(sides)) == 1, "all images of a tuple alike"
        assert flip or sides[0] == 1


@pytest.mark.parametrize("option", ["colour", "blur", "crop"])
def test_changes_use_all_of_what_was_asked_for(option):
    """Evenly: each tenth of the range has its tenth of the images, for each number that is drawn."""
    made = drawn(dataclasses.replace(Augmentation(), **{option: 0.5}), [0] * 4000)
    if option == "colour":
        even = (np.log(made.factors) / (0.5 * np.array([1, 1, 1, 0.25, 0.25, 0.25])) + 1) / 2
    elif option == "blur":
        even = made.sigma[:, None] / 0.5
    else:
        size = made.window[:, 2]
        even = np.column_stack([(1 - size) / 0.5, (made.window[:, :2] / (1 - size)[:, None] + 1) / 2])
    for column in even.T:
        tenths, _ = np.histogram(column, 10, (0, 1))
        assert tenths.sum() >= 3999  # one may round beyond the end
        assert np.abs(tenths - 400).max() < 90  # more than four standard deviations


def test_half_of_the_tuples_are_mirrored():
    tuples = np.repeat(np.arange(1000), 3)
    mirrored = drawn(Augmentation(flip=True), tuples).window[::3, 2] < 0
    assert 430 < mirrored.sum() < 570


@pytest.mark.parametrize(
    ("option", "value"), [("colour", -0.1), ("blur", 21.0), ("crop", 0.95), ("crop", math.nan)]
)
def test_options_out_of_range(option, value):
    with input_error(option, f"{value:g}", "expected 0 to"):
        Augmentation(**{option: value})
