"""Weights as other runtimes get them: the same descriptors, or nothing is written."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

import training.export
from test.as_command import check_refusal
from test.conftest import texture
from test.error_lines import input_error
from test.small_world import picture, small_map, small_weights
from training.export import export, write_model
from vpr_ros.encoder import Architecture, Encoder, load_encoder, save_encoder
from vpr_ros.engine import Engine
from vpr_ros.engines.exported_engine import ExportedEngine
from vpr_ros.engines.exported_model import Description, description_of, read_exported, write_description
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.localiser import Settings, open_localiser

SIZES = [(64, 64), (64, 85), (97, 131), (90, 64)]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "deep").mkdir()
    for number, size in enumerate(SIZES):
        cv2.imwrite(str(folder / "deep" / f"{number}.png"), texture(number, *size)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights, and a map made with them."""
    folder = tmp_path_factory.mktemp("small")
    weights = small_weights(folder / "weights.safetensors")
    return weights, small_map(folder / "map", weights)


def encoder_of(trunk, pooling, dimension):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        architecture = Architecture(
            trunk, pooling, 5 if pooling == "netvlad" else 0, dimension, input_size=64
        )
        encoder = Encoder(architecture).eval().requires_grad_(False)
        for layer in encoder.trunk:  # else VGG-16 sees no difference between images
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
                torch.nn.init.zeros_(layer.bias)
        if encoder.whitening is not None:
            encoder.whitening.weight.normal_()
            encoder.whitening.bias.normal_()
    return encoder


def exported(encoder, file, half=False):
    write_model(encoder, file, half)
    given = encoder.architecture
    write_description(
        description_of(file), Description(encoder.dimension, given.input_size, given.mean, given.std)
    )
    return ExportedEngine(read_exported(file), "cpu")


@pytest.mark.parametrize("dimension", [0, 32])
@pytest.mark.parametrize("pooling", ["netvlad", "max", "gem"])
@pytest.mark.parametrize("trunk", ["alexnet", "vgg16", "resnet18"])
def test_batches_of_any_size_give_what_the_encoder_gives(tmp_path, trunk, pooling, dimension):
    encoder = encoder_of(trunk, pooling, dimension)
    engine = exported(encoder, tmp_path / "model.onnx")
    pictures = [texture(seed, *size) for seed in range(3) for size in SIZES[: 1 + seed]]
    expected = Engine(encoder, torch.device("cpu")).encode(pictures)
    made = engine.encode(pictures)
    assert np.linalg.norm(made - expected, axis=1).max() < 1e-4
    others = (expected @ expected.T)[~np.eye(len(pictures), dtype=bool)]
    assert others.max() < 0.99999  # so that any descriptor would not do


def test_half_precision_keeps_the_cosine_and_is_half_as_large(tmp_path):
    encoder = encoder_of("alexnet", "netvlad", 0)
    whole = exported(encoder, tmp_path / "whole.onnx")
    half = exported(encoder, tmp_path / "half.onnx", half=True)
    pictures = [texture(seed, *size) for seed, size in enumerate(SIZES)]
    expected, made = whole.encode(pictures), half.encode(pictures)
    assert (expected * made).sum(axis=1).min() > 0.999
    assert np.abs(expected - made).max() > 0
    size = (tmp_path / "half.onnx").stat().st_size / (tmp_path / "whole.onnx").stat().st_size
    assert 0.5 < size < 0.52


def test_the_encoder_is_as_before(tmp_path):
    encoder = encoder_of("alexnet", "netvlad", 0)
    before = encoder.fingerprint()
    write_model(encoder, tmp_path / "model.onnx", half=True)
    assert encoder.fingerprint() == before
    assert {each.dtype for each in encoder.parameters()} == {torch.float32}


def test_a_checked_model_answers_on_the_map_of_its_weights(call, tmp_path, small, photographs):
    weights, place_map = small
    options = ["--weights", weights, "--out", tmp_path / "a.onnx", "--to", "onnx", "--check", photographs]
    status, output, errors = call(export, *options)
    assert status == 0, errors
    assert "1024 dimensions" in output
    assert "4 photographs: at worst a difference of" in output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "a.yaml"]
    assert (tmp_path / "a.onnx").stat().st_mode & 0o777 == (tmp_path / "a.yaml").stat().st_mode & 0o777
    localiser = open_localiser(tmp_path / "a.onnx", place_map, "cpu", Settings(filter=False))
    ours = open_localiser(weights, place_map, "cpu", Settings(filter=False))
    for place in (0, 7):
        image = CameraImage(picture(place))
        one, other = localiser.localise(image, 1).single.ranked[0], ours.localise(image, 1).single.ranked[0]
        assert one.places[0] == other.places[0] == place
        assert one.probability == pytest.approx(other.probability, abs=1e-3)


def test_a_model_that_was_not_checked_is_another_encoder(call, tmp_path, small):
    weights, place_map = small
    status, output, errors = call(export, "--weights", weights, "--out", tmp_path / "a.onnx")
    assert status == 0, errors
    assert "not checked" in output
    with input_error(place_map, "other weights"):
        open_localiser(tmp_path / "a.onnx", place_map, "cpu", Settings())


def test_a_model_that_was_exchanged_is_not_taken_for_the_checked_one(tmp_path, small, photographs):
    weights, place_map = small
    export(tmp_path / "a.onnx", weights, check=photographs)
    save_encoder(encoder_of("alexnet", "netvlad", 0), tmp_path / "other.safetensors", "nothing: a test")
    export(tmp_path / "b.onnx", tmp_path / "other.safetensors")
    (tmp_path / "b.onnx").replace(tmp_path / "a.onnx")
    with input_error(tmp_path / "a.onnx", "changed since a.yaml was written"):
        open_localiser(tmp_path / "a.onnx", place_map, "cpu", Settings())


@pytest.mark.parametrize(("out", "to"), [("a.onnx", "onnx"), ("a.pt", "torch")])
@pytest.mark.parametrize("half", [False, True])
def test_a_model_that_computes_something_else_is_not_written(
    call, tmp_path, small, photographs, monkeypatch, out, to, half
):
    def wrong(encoder, file, half=False):
        write_model(encoder_of("alexnet", "netvlad", 0), file, half)

    # the clusters of another encoder: of the right size
    monkeypatch.setattr(training.export, "write_model", wrong)
    save_encoder(encoder_of("alexnet", "netvlad", 0), tmp_path / "same.safetensors", "nothing: a test")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        other = Encoder(Architecture(clusters=5, input_size=64))
    save_encoder(other, tmp_path / "other.safetensors", "nothing: a test")
    (tmp_path / out).write_text("what was there before")
    options = ["--out", tmp_path / out, "--to", to, "--half", str(half).lower(), "--check", photographs]
    limit = "a cosine of 0.999" if half else "a difference of 0.001"
    told = call(export, *options, "--weights", tmp_path / "other.safetensors")
    check_refusal(*told, tmp_path / out, "not written", limit)
    assert (tmp_path / out).read_text() == "what was there before"
    assert len(list(tmp_path.iterdir())) == 3
    assert call(export, *options, "--weights", tmp_path / "same.safetensors")[0] == 0


def test_torchscript_gives_what_the_encoder_gives_at_any_size(call, tmp_path, small, photographs):
    weights, _ = small
    file = tmp_path / "a.pt"
    status, output, errors = call(
        export, "--weights", weights, "--out", file, "--to", "torch", "--check", photographs
    )
    assert status == 0, errors
    assert "4 photographs" in output
    # in a process that knows nothing of this project
    encoder = load_encoder(weights)
    images = torch.randint(0, 256, (3, 3, 77, 110), dtype=torch.uint8)
    torch.save([encoder.normalise(images), encoder(images)], tmp_path / "both")
    program = (
        "import sys, torch; given, expected = torch.load('both', weights_only=True); "
        "made = torch.jit.load('a.pt')(given); assert torch.allclose(made, expected, atol=1e-5); "
        "assert 'vpr_ros' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, check=True, timeout=120)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "a.onnx", "--to", "tflite"], "onnx or torch"),
        (["--out", "a.pt"], ".onnx"),
        (["--out", "a.onnx", "--to", "torch"], ".pt"),
        (["--out", "a.onnx", "--check", "none"], "no such folder"),
        (["--out", "a.onnx", "--check", "empty"], "no images"),
        (["--out", "a.onnx", "--check", "broken"], "1.png"),
        (["--out", "a.onnx", "--weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_what_cannot_be_is_refused(call, tmp_path, small, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"not a picture")
    check_refusal(*call(export, "--weights", small[0], *options), told)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken", "empty"]


def test_a_package_that_is_missing_is_named(call, tmp_path, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)  # an import of it fails
    check_refusal(
        *call(export, "--weights", small[0], "--out", tmp_path / "a.onnx"), "a.onnx", "pip install onnx"
    )
    assert list(tmp_path.iterdir()) == []
