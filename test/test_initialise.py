"""What an encoder learns before and after training: cluster centres and a whitening."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from test.small_training import arguments, make_narrow, narrow_encoder, write_drives, write_trunk
from training.learning.initialise import PER_IMAGE, Whiten, sample_local, sample_rows, with_whitening
from training.train import train
from vpr_ros.netvlad import NetVLAD


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    make_narrow(monkeypatch)


def rng():
    return np.random.default_rng(0)


# --- local descriptors


@pytest.mark.parametrize(("count", "most"), [(10, 4), (10, 10), (3, 500), (2000, 500)])
def test_rows_are_drawn_at_random_each_once(count, most):
    rows = sample_rows(count, most, rng())
    assert len(rows) == min(count, most)
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] <= rows[-1] < count
    if count > most:
        assert rows.tolist() != list(range(most))
        assert rows.tolist() != sample_rows(count, most, np.random.default_rng(1)).tolist()


def test_a_hundred_local_descriptors_of_each_image():
    """Of an image that has fewer all of them; none twice; of unit length."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 14, 19), (1, 3, 4), (1, 10, 10)]  # images together, height, width of the map
    maps = [3 * torch.randn(count, 8, high, wide, generator=generator) for count, high, wide in sizes]
    local = sample_local(maps, rng())
    assert len(local) == 2 * PER_IMAGE + 12 + PER_IMAGE
    assert PER_IMAGE == 100
    np.testing.assert_allclose(np.linalg.norm(local, axis=1), 1, atol=1e-5)
    each = [F.normalize(image.flatten(1), dim=0).T.numpy() for batch in maps for image in batch]
    start = 0
    for known, taken in zip(each, (100, 100, 12, 100), strict=True):
        found = local[start : start + taken] @ known.T
        assert found.max(axis=1).min() > 1 - 1e-5
        assert len(set(found.argmax(axis=1).tolist())) == taken
        start += taken
    # not the first ones of a large map, which are its sky
    assert (local[:100] @ each[0].T).argmax(axis=1).max() > 200


def test_a_run_takes_five_hundred_images(call, monkeypatch, tmp_path):
    """Of a longer table 500, drawn at random: 50 000 local descriptors where images have 100 of them."""
    data = write_drives(tmp_path / "data", 8)
    head, *lines = (data / "images.csv").read_text().splitlines()
    (data / "images.csv").write_text("\n".join([head, *(lines * 40)]) + "\n")  # 640 images
    taken = {}

    def initialise(self, local, version, seed):
        taken.update(shape=local.shape, version=version, seed=seed)
        raise KeyboardInterrupt

    monkeypatch.setattr(NetVLAD, "initialise", initialise)
    trunk = write_trunk(tmp_path / "trunk.safetensors")
    line = arguments(data, tmp_path / "run", trunk, model__initialisation="v2", seed=7)
    assert call(train, *line)[0] == 130
    # 3 x 4 local descriptors of an image of 64 x 80
    assert taken == {"shape": (500 * 12, 16), "version": "v2", "seed": 7}


# --- whitening


def descriptors(count=40, depth=64):
    """Return descriptors of unit length that vary more along some axes than along others."""
    spread = np.linspace(0.05, 1, depth) * rng().normal(size=(count, depth)) + 0.3
    return (spread / np.linalg.norm(spread, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("shrinkage", [0.0, 0.7, None])
def test_the_whitening_is_that_of_the_descriptors(shrinkage):
    """PCA by NumPy: projections divided by the root of variance and shrinkage, then by their length."""
    encoder, given, dimension = narrow_encoder(), descriptors(), 12
    whitened = with_whitening(encoder, given, Whiten(dimension, shrinkage))
    mean = given.mean(0)
    variances, axes = np.linalg.eigh(np.cov(given.T.astype(float), bias=True))
    variances, axes = variances[::-1][:dimension], axes[:, ::-1][:, :dimension]
    added = (dimension / len(given) if shrinkage is None else shrinkage) * variances.mean()
    expected = (given - mean) @ axes / np.sqrt(variances + added)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    with torch.no_grad():
        found = whitened.whitening(torch.from_numpy(given)).numpy()
    signs = np.sign((found * expected).sum(0))  # an axis has no direction
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)
    # the encoder is the same before it, and ready to encode
    assert whitened.architecture.dimension == whitened.dimension == dimension
    assert not whitened.training
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(whitened.state_dict()[name], tensor)


@pytest.mark.parametrize(("count", "depth", "most"), [(40, 64, 39), (90, 64, 64), (2, 64, 1)])
def test_too_few_images_give_fewer_dimensions_and_a_warning(caplog, count, depth, most):
    whitened = with_whitening(narrow_encoder(), descriptors(count, depth), Whiten(4096))
    assert whitened.dimension == most
    (record,) = caplog.records
    assert re.findall(r"\d+", record.getMessage()) == [str(n) for n in (most, 4096, count, depth)]
    with torch.no_grad():
        assert torch.isfinite(whitened(torch.rand(2, 3, 64, 80))).all()


def test_as_many_dimensions_as_can_be_are_no_warning(caplog):
    assert with_whitening(narrow_encoder(), descriptors(40), Whiten(39)).dimension == 39
    assert not caplog.records
