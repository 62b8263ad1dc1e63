"""A hand-crafted encoder is used as a network is."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from test.as_command import ENVIRONMENT
from test.conftest import texture
from test.error_lines import input_error
from test.small_hand_crafted import hand_crafted_weights, make
from vpr_ros.engines.hand_crafted_engine import HandCraftedEngine
from vpr_ros.images.camera_image import BGR, CameraImage
from vpr_ros.open_engine import load_model, open_engine


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return hand_crafted_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def engine(file):
    return open_engine(file, "cpu")


def test_it_is_what_the_file_says(engine):
    assert isinstance(engine, HandCraftedEngine)
    assert engine.fingerprint == make().fingerprint()
    assert (engine.dimension, engine.input_size, engine.jpeg) == (24, 64, None)
    assert engine.device == torch.device("cpu")


def test_mixed_sizes_in_order(engine):
    sizes = [(64, 80), (100, 75), (64, 80), (120, 240)]
    pictures = [texture(seed, *size) for seed, size in enumerate(sizes)]
    encoded = engine.encode(pictures)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), 1, atol=1e-5)
    encoder = make()
    expected = np.stack([encoder(encoder.local(engine.fit(picture))).numpy() for picture in pictures])
    np.testing.assert_allclose(encoded, expected, atol=1e-5)
    assert len(np.unique(expected.round(4), axis=0)) == 4  # so that a wrong order would show
    assert engine.encode([]).shape == (0, 24)


def test_one_image_of_a_camera_and_planes(engine):
    image, called = texture(3, 90, 120), []
    expected = engine.encode([image])[0]
    described = engine.encode_one(CameraImage(image[..., ::-1].copy(), BGR), called.append)
    np.testing.assert_allclose(described, expected, atol=1e-6)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    np.testing.assert_allclose(engine.encode_planes(planes, lambda: called.append(2))[0], expected, atol=1e-6)
    assert called == [None, 2]


def test_an_image_that_was_brought_to_size_and_may_not_be_written(engine):
    image = texture(3, 90, 120)
    image.flags.writeable = False
    fitted = engine.fit(image)
    assert fitted.shape == (64, 85, 3)
    np.testing.assert_allclose(engine.encode([fitted]), engine.encode([image]), atol=1e-6)


def test_a_black_image_has_a_descriptor(engine):
    (described,) = engine.encode([np.zeros((64, 80, 3), np.uint8)])
    assert np.linalg.norm(described) == pytest.approx(1, abs=1e-5)


def test_an_image_that_cannot_be_brought_to_size(engine):
    with input_error("2000x20", "8 to 1"):
        engine.encode([texture(0, 20, 2000)])


def test_a_gpu_is_not_used_and_that_is_said(file, caplog):
    assert HandCraftedEngine(load_model(file), torch.device("cuda")).device.type == "cpu"
    assert "cuda is not used" in caplog.text


def test_bfloat16_is_for_networks(file):
    assert open_engine(file, "cpu", bfloat16=True).runs_on == "cpu by OpenCV"


def test_who_has_a_network_does_not_load_it(weights):
    program = (
        "import sys; from pathlib import Path; from vpr_ros.open_engine import open_engine; "
        "import vpr_ros.localiser; open_engine(Path(sys.argv[1]), 'cpu'); "
        "print([name for name in sys.modules if 'hand_crafted' in name or name == 'sklearn'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, weights], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
