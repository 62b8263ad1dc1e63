"""Together a GPU decodes JPEGs to a processor's pixels; the CPU stands for a GPU."""

import cv2
import numpy as np
import pytest
import torch

from test.conftest import texture
from test.test_engine import picture
from test.test_gpu_jpeg import PICTURE, file, turned, without_luma
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import Engine
from vpr_ros.engines import jpeg_batches
from vpr_ros.engines.gpu_jpeg import JpegDecoder
from vpr_ros.engines.jpeg_batches import JpegBatches, jpeg_file, with_interpolated_colours
from vpr_ros.geotagged import Undecoded
from vpr_ros.images.pixels import rgb_from_file

CPU = torch.device("cpu")


def undecoded(data):
    return Undecoded(lambda: rgb_from_file(data), data)


# --- which files


@pytest.mark.parametrize(("name", "subsampling"), [("4:4:4", (1, 1)), ("4:2:2", (1, 2)), ("4:2:0", (2, 2))])
def test_a_jpeg_and_how_its_colours_are_stored(name, subsampling):
    data = file(subsampling=name)
    found = jpeg_file(undecoded(data))
    assert (found.height, found.width, found.subsampling) == (*PICTURE.shape[:2], subsampling)
    assert found.data.tobytes() == data
    np.testing.assert_array_equal(found.rgb(), rgb_from_file(data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="pixels"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8\xff\xd9", id="no header"),
        pytest.param(file(kind="PNG"), id="png"),
        pytest.param(file(progressive=True), id="progressive"),
        pytest.param(file(PICTURE[..., 0]), id="grey"),
        pytest.param(file(exif=turned()), id="turned by EXIF"),
        pytest.param(without_luma(), id="red, green and blue as they are"),
        pytest.param(file()[:-2], id="cut off"),
        pytest.param(file().replace(b"\x00\x80\x00\xa0", b"\x00\x00\x00\xa0", 1), id="height of 0"),
    ],
)
def test_what_is_the_processors(data):
    assert jpeg_file(Undecoded(lambda: PICTURE, data)) is None


def test_more_pixels_than_are_decoded_at_once(monkeypatch):
    monkeypatch.setattr(jpeg_batches, "MAX_PIXELS", PICTURE[..., 0].size - 1)
    assert jpeg_file(undecoded(file())) is None


# --- their pixels


def interpolated(chroma, axis):
    """Return chroma at twice its size along an axis, as libjpeg does: 3/4 of the nearest, 1/4 of the next."""
    padded = np.pad(chroma, [(1, 1) if each == axis else (0, 0) for each in range(2)], "edge")
    before, after = (np.take(padded, np.arange(chroma.shape[axis]) + shift, axis) for shift in (0, 2))
    both = np.stack([(3 * chroma + before) / 4, (3 * chroma + after) / 4], axis + 1)
    return both.reshape([side * (2 if each == axis else 1) for each, side in enumerate(chroma.shape)])


def to_rgb(luma, blue, red):
    planes = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    return torch.from_numpy(np.stack(planes).round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
@pytest.mark.parametrize("subsampling", [(1, 2), (2, 2)])
def test_repeated_colours_are_interpolated(size, subsampling):
    random, (height, width) = np.random.default_rng(0), size
    luma = random.integers(80, 176, size)
    stored = random.integers(-40, 40, (2, -(-height // subsampling[0]), -(-width // subsampling[1])))
    repeated = np.stack([np.kron(each, np.ones(subsampling, int)) for each in stored])[:, :height, :width]
    wanted = list(stored.astype(float))
    for axis in range(2):
        if subsampling[axis] == 2:
            wanted = [interpolated(each, axis) for each in wanted]
    expected = to_rgb(luma, *(each.round()[:height, :width] for each in wanted)).int()
    given = to_rgb(luma, *repeated)
    assert (given - expected).abs().float().mean() > 5
    result = with_interpolated_colours(given[None], subsampling)[0]
    assert result.dtype == torch.uint8
    assert (result - expected).abs().max() <= 3
    assert (result - expected).abs().float().mean() < 0.1


def test_colours_of_every_pixel_stay():
    planes = torch.from_numpy(PICTURE).permute(2, 0, 1)[None]
    assert with_interpolated_colours(planes, (1, 1)) is planes


def test_a_batch_and_its_small_pictures():
    images = [texture(seed, 96, 128) for seed in range(3)]
    files = [jpeg_file(undecoded(file(image, subsampling="4:4:4"))) for image in images]
    planes, small = JpegBatches(JpegDecoder(CPU, 64), 64).decode(files)
    assert planes.shape == (3, 3, 96, 128)
    for one, picture_, there in zip(planes, small, files, strict=True):
        assert np.abs(one.permute(1, 2, 0).numpy().astype(int) - there.rgb()).mean() < 1
        assert picture_.shape == (48, 64, 3)
        assert np.abs(picture_[::6, ::8].astype(int) - there.rgb()[::12, ::16]).mean() < 25
    assert JpegBatches(JpegDecoder(CPU, 64), 0).decode(files)[1] == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_descriptors_are_those_of_the_processors_pixels():
    if not DEFAULT_WEIGHTS.is_file():
        pytest.skip(f"no {DEFAULT_WEIGHTS}")
    engine = Engine(load_encoder(), torch.device("cuda"))
    for size in ((240, 320), (480, 640), (1080, 1920)):
        images = [cv2.GaussianBlur(picture(*size, seed), (0, 0), 2) for seed in range(4)]
        files = [jpeg_file(undecoded(file(image, quality=90))) for image in images]
        planes, _ = JpegBatches(engine.jpeg, 0).decode(files)
        expected = engine.encode([each.rgb() for each in files])
        assert ((engine.encode_planes(planes) * expected).sum(axis=1) > 0.9995).all()
