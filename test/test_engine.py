"""The engine gives what its encoder gives, for any batch, on any device there is."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from test.error_lines import input_error
from vpr_ros.encoder import DEFAULT_WEIGHTS, Architecture, Encoder, load_encoder
from vpr_ros.engine import Engine, choose_device


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder(Architecture(clusters=4, input_size=64)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def engine(encoder):
    return Engine(encoder, torch.device("cpu"))


def picture(height, width, seed=0):
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])


def alone(encoder, image):
    """Encode one image with nothing but the encoder."""
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous()[None]
    return encoder(encoder.fit_size(tensor))[0].numpy()


def test_mixed_sizes_in_order(encoder, engine):
    sizes = [(64, 80), (100, 75), (64, 80), (120, 240), (100, 75), (64, 64), (64, 80)]
    pictures = [picture(*size, seed) for seed, size in enumerate(sizes)]
    encoded = engine.encode(pictures)
    assert encoded.shape == (len(sizes), engine.dimension)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), 1, atol=1e-5)
    expected = np.stack([alone(encoder, image) for image in pictures])
    cosines = expected @ encoded.T
    assert (np.diag(cosines) >= 0.9999).all()
    np.fill_diagonal(cosines, 0)
    assert cosines.max() < 0.9999  # so that a wrong order would show


def test_attributes_are_the_encoders(encoder, engine):
    assert engine.fingerprint == encoder.fingerprint()
    assert engine.dimension == encoder.dimension == 4 * 256
    assert engine.input_size == 64


def test_no_images(engine):
    assert engine.encode([]).shape == (0, engine.dimension)


def test_same_image_same_descriptor_in_any_company(engine):
    first, second = picture(64, 80, 1), picture(64, 80, 2)
    np.testing.assert_allclose(engine.encode([first])[0], engine.encode([second, first])[1], atol=1e-5)


@pytest.mark.parametrize("size", [(64, 80), (200, 75), (90, 120)])
def test_an_image_is_brought_to_size_beforehand_as_in_a_batch(encoder, engine, size):
    image = picture(*size)
    image.flags.writeable = False
    fitted = engine.fit(image)
    assert fitted.dtype == np.uint8
    assert min(fitted.shape[:2]) == 64
    batch = torch.from_numpy(np.stack([picture(*size, 1), image])).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(fitted, encoder.fit_size(batch)[1].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(engine.encode([fitted]), engine.encode([image]), atol=1e-6)


def test_an_image_that_cannot_be_brought_to_size(engine):
    with input_error("2000x20", "8 to 1"):
        engine.fit(picture(20, 2000))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_threads_share_a_gpu(encoder):
    """The images of one are copied while those of another are encoded, into memory that is nobody else's."""
    there = Engine(encoder, torch.device("cuda"))
    batches = [[picture(64, 80, 8 * batch + seed) for seed in range(8)] for batch in range(20)]
    alone = [there.encode(batch) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        for one, other in zip(alone, pool.map(there.encode, batches), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def views():
    base = picture(90, 120)
    read_only = base.copy()
    read_only.flags.writeable = False
    padded = np.zeros((90, 130, 3), np.uint8)
    padded[:, :120] = base
    return {
        "read-only": (read_only, base),
        "from bytes": (np.frombuffer(base.tobytes(), np.uint8).reshape(base.shape), base),
        "padded": (padded[:, :120], base),
        "upside down": (base[::-1], base[::-1].copy()),
        "bgr turned": (base[..., ::-1], base[..., ::-1].copy()),
        "every second": (base[::2, ::2][:, :], base[::2, ::2].copy()),
        "fortran": (np.asfortranarray(base), base),
        "transposed": (base.transpose(1, 0, 2), base.transpose(1, 0, 2).copy()),
    }


@pytest.mark.parametrize("name", views())
def test_any_memory_layout(engine, name):
    view, plain = views()[name]
    assert not (view.flags.c_contiguous and view.flags.writeable)  # or nothing is tested
    before = view.tobytes()
    np.testing.assert_allclose(engine.encode([view]), engine.encode([plain]), atol=1e-6)
    assert view.tobytes() == before


def test_raw_message_goes_through_without_a_copy_before(engine):
    from vpr_ros.images.pixels import image_from_raw

    image = picture(70, 90)
    data = np.zeros((70, 90 * 3 + 10), np.uint8)
    data[:, :270] = image.reshape(70, 270)
    view = image_from_raw(data.tobytes(), 70, 90, 280, "rgb8").rgb()
    np.testing.assert_allclose(engine.encode([view, view]), engine.encode([image, image]), atol=1e-6)


@pytest.mark.parametrize("shape", [(10, 90, 3), (90, 10, 3)])
def test_extreme_aspect(engine, shape):
    with input_error("8 to 1"):
        engine.encode([np.zeros(shape, np.uint8)])


@pytest.mark.parametrize("value", [0, 255])
def test_images_with_nothing_in_them_have_unit_length(engine, value):
    encoded = engine.encode([np.full((64, 64, 3), value, np.uint8)])
    assert np.linalg.norm(encoded) == pytest.approx(1, abs=1e-5)


def test_auto_is_a_device_that_works(encoder):
    device = choose_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert torch.zeros(1, device=device).sum() == 0


def test_cpu_is_the_cpu():
    assert choose_device("cpu").type == "cpu"


def test_auto_prefers_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device().type == "cuda"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_gpu_that_is_not_there(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with input_error(name, "auto", "cpu"):
        choose_device(name)


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "tpu:0", "cpu0", "cpu:x", "cuda:x", "cuda:", "auto:1", "mps"]
)
def test_nonsense_devices(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with input_error(f"'{name}'"):
        choose_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_gpu_gives_what_the_cpu_gives():
    # the model that ships: its sharp assignment and its whitening are where half precision is not enough
    if not DEFAULT_WEIGHTS.is_file():
        pytest.skip(f"no {DEFAULT_WEIGHTS}")
    pictures = [picture(240, 320, seed) for seed in range(4)]
    pictures += [np.full((240, 320, 3), value, np.uint8) for value in (0, 128, 255)]
    expected = Engine(load_encoder(), torch.device("cpu")).encode(pictures)
    encoded = Engine(load_encoder(), torch.device("cuda")).encode(pictures)
    assert ((expected * encoded).sum(axis=1) > 0.9999).all()
