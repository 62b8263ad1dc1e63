"""The graph gives what the encoder gives, where there is a GPU."""

import numpy as np
import pytest
import torch

from test.test_engine import picture
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import GRAPHS, Engine
from vpr_ros.images.camera_image import BGR, GREY, RGB, CameraImage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module")
def engines():
    if not DEFAULT_WEIGHTS.is_file():
        pytest.skip(f"no {DEFAULT_WEIGHTS}")
    return Engine(load_encoder(), torch.device("cpu")), Engine(load_encoder(), torch.device("cuda"))


@pytest.mark.parametrize("order", [RGB, BGR, GREY])
def test_the_graph_gives_what_the_cpu_gives(engines, order):
    cpu, cuda = engines
    for size in ((240, 320), (480, 640), (1080, 1920)):
        padded = np.zeros((size[0], size[1] + 7, 1 if order == GREY else 3), np.uint8)
        for seed in range(4):  # the first is encoded without, the second captures, the others replay
            padded[:, : size[1]] = picture(*size, seed)[..., : padded.shape[2]]
            image = CameraImage(padded[:, : size[1]], order)
            assert cuda.encode_one(image) @ cpu.encode_one(image) > 0.999


def test_what_is_launched_meanwhile_sees_the_descriptor(engines):
    _, cuda = engines
    seen, given = torch.zeros(cuda.dimension, device="cuda"), []

    def meanwhile(there):
        given.append(there is not None)
        if there is not None:
            seen.copy_(there)

    for seed in range(4):
        encoded = cuda.encode_one(CameraImage(picture(400, 640, seed), RGB), meanwhile)
        torch.cuda.synchronize()
        if seed:
            np.testing.assert_array_equal(seen.cpu(), encoded)
    assert given == [False, True, True, True]  # the first one has no graph


def test_sizes_come_and_go(engines):
    cpu, cuda = engines
    images = [CameraImage(picture(240 + 8 * number, 320, number)) for number in range(GRAPHS + 2)]
    for _ in range(3):
        for image in images:
            for _ in range(2):
                assert cuda.encode_one(image) @ cpu.encode_one(image) > 0.999
    assert len(cuda._graphs) == GRAPHS
