"""A GPU decodes what it decodes as a processor would, and leaves the rest alone; the CPU stands for a GPU."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from test.test_engine import picture
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import Engine
from vpr_ros.engines.gpu_jpeg import GpuImage, JpegDecoder, jpeg_decoder
from vpr_ros.errors import InputError
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.images.pixels import image_from_compressed

CPU = torch.device("cpu")
PICTURE = picture(128, 160, 0)


@pytest.fixture(scope="module")
def decoder():
    return JpegDecoder(CPU, 64)


def file(pixels=PICTURE, kind="JPEG", **options):
    written = BytesIO()
    PillowImage.fromarray(pixels).save(written, kind, **options)
    return written.getvalue()


def test_what_it_decodes_is_the_image(decoder):
    there, here = image_from_compressed(file(), decoder=decoder), image_from_compressed(file())
    assert isinstance(there, GpuImage)
    assert tuple(there.pixels.shape) == PICTURE.shape
    # each decoder rounds in its own way
    assert np.abs(there.rgb().astype(int) - here.rgb()).mean() < 1.5


def turned():
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    return exif


def without_luma():
    """A JPEG of which Adobe's marker says that its colours are no luma and chroma."""
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    return file()[:2] + marker + file()[2:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file(kind="PNG"), id="png"),
        pytest.param(file(progressive=True), id="progressive"),
        pytest.param(file(PICTURE[..., 0]), id="grey"),
        pytest.param(file(exif=turned()), id="turned by EXIF"),
        pytest.param(without_luma(), id="red, green and blue as they are"),
        pytest.param(file(PICTURE[:127]), id="less than twice the input size"),
    ],
)
def test_what_it_leaves_to_the_processor(decoder, data):
    image = image_from_compressed(data, decoder=decoder)
    assert isinstance(image, CameraImage)
    np.testing.assert_array_equal(image.rgb(), image_from_compressed(data).rgb())


def test_what_fails_on_the_gpu_is_the_processors_to_decode_or_refuse(decoder, monkeypatch):
    def fail(_):
        raise RuntimeError("Failed to decode batch: 3")

    monkeypatch.setattr(decoder, "planes", fail)
    assert isinstance(image_from_compressed(file(), decoder=decoder), CameraImage)
    with pytest.raises(InputError, match="at most 1000 pixels"):
        image_from_compressed(file(), 1000, decoder)
    with pytest.raises(InputError, match="does not decode"):
        image_from_compressed(file()[:300], decoder=decoder)


def test_only_a_gpu_has_one():
    assert jpeg_decoder(CPU, 64) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_descriptors_are_those_of_the_processors_pixels():
    if not DEFAULT_WEIGHTS.is_file():
        pytest.skip(f"no {DEFAULT_WEIGHTS}")
    engine = Engine(load_encoder(), torch.device("cuda"))
    for size in ((480, 640), (1080, 1920)):
        for seed in range(4):
            smooth = cv2.GaussianBlur(picture(*size, seed), (0, 0), 2)
            data = file(smooth, quality=90)
            there = image_from_compressed(data, decoder=engine.jpeg)
            assert isinstance(there, GpuImage)
            assert engine.encode_one(there) @ engine.encode_one(image_from_compressed(data)) > 0.999
