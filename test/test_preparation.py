"""An image is prepared for the trunk as the encoder does it; the CPU stands for a GPU."""

import pytest
import torch

from test.test_engine import picture
from vpr_ros.encoder import Architecture, Encoder
from vpr_ros.engines.preparation import Preparation
from vpr_ros.images.camera_image import BGR, GREY, RGB, CameraImage

ENCODER = Encoder(Architecture(clusters=4, input_size=64))
MEAN, STD = 255 * ENCODER.mean, 255 * ENCODER.std


@pytest.mark.parametrize("size", [(64, 64), (64, 90), (120, 160), (333, 251), (70, 500)])
@pytest.mark.parametrize("order", [RGB, BGR, GREY])
def test_it_is_what_the_encoder_makes_of_the_image(size, order):
    channels = 1 if order == GREY else 3
    prepare = Preparation((*size, channels, order), 64, MEAN, 1 / STD, torch.float32)
    for seed in range(2):  # the second image overwrites the first
        image = CameraImage(picture(*size, seed)[..., :channels], order)
        rgb = torch.from_numpy(image.rgb().copy()).permute(2, 0, 1)[None]
        # of bytes it would use weights of 16 bits
        resized = ENCODER.fit_size(rgb.float()).round() / 255
        prepared = prepare(torch.from_numpy(image.pixels.copy())).float()
        assert prepared.shape == (1, 4, *resized.shape[2:])
        torch.testing.assert_close(prepared[:, :3], ENCODER.normalise(resized), atol=1e-4, rtol=0)
        assert not prepared[:, 3].any()
