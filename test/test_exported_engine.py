"""An exported model gives what it gives elsewhere; one that is not what is said of it is refused."""

import builtins
import os
import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from test.error_lines import input_error
from test.foreign_models import DIMENSION, MEAN, STD, Foreign, describe, foreign_weights, write_model
from test.test_engine import picture
from vpr_ros.encoder import resize
from vpr_ros.engine import Engine
from vpr_ros.engines.exported_engine import CPU, CUDA, TENSORRT, ExportedEngine
from vpr_ros.engines.exported_model import read_exported
from vpr_ros.images.camera_image import BGR, GREY, CameraImage
from vpr_ros.open_engine import engine_on, load_model, open_engine


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return foreign_weights(tmp_path_factory.mktemp("foreign") / "model.onnx", name="Foreign")


@pytest.fixture(scope="module")
def engine(file):
    return open_engine(file, "cpu")


@pytest.fixture
def copy(file, tmp_path):
    """Return the model with another description."""

    def copy(**said):
        (tmp_path / "model.onnx").write_bytes(file.read_bytes())
        return describe(tmp_path / "model.onnx", **said)

    return copy


def alone(image, size, order=(0, 1, 2)):
    """Encode one image with nothing but the model."""
    planes = torch.from_numpy(image[..., order].copy()).permute(2, 0, 1)[None]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    with torch.no_grad():
        given = Foreign().eval()((resize(planes, list(size)).float() / 255 - mean) / std)[0].numpy()
    return given / np.linalg.norm(given)


def opened(file):
    return ExportedEngine(read_exported(file), "cpu")


def test_it_is_what_the_description_says(file, engine):
    assert (engine.dimension, engine.input_size) == (DIMENSION, 64)
    assert engine.fingerprint == read_exported(file).fingerprint()
    assert engine.device == torch.device("cpu")
    assert engine.runs_on == "CPU by onnxruntime"
    assert engine.jpeg is None


def test_mixed_sizes_in_order_squeezed_to_one(engine):
    pictures = [picture(*size, seed) for seed, size in enumerate([(64, 80), (100, 75), (64, 80), (120, 240)])]
    encoded = engine.encode(pictures)
    assert encoded.dtype == np.float32
    expected = np.stack([alone(image, (64, 80)) for image in pictures])
    np.testing.assert_allclose(encoded, expected, atol=1e-5)
    assert (expected @ expected.T)[~np.eye(4, dtype=bool)].max() < 0.999  # so that a wrong order would show
    assert engine.encode([]).shape == (0, DIMENSION)


def test_the_shorter_side_and_any_batch(copy):
    engine = opened(copy(input_size=66))
    pictures = [picture(132, 200, seed) for seed in range(3)]
    expected = np.stack([alone(image, (66, 100)) for image in pictures])
    np.testing.assert_allclose(engine.encode(pictures), expected, atol=1e-5)


def test_blue_first(copy):
    engine = opened(copy(channels="bgr"))
    image = picture(64, 80)
    np.testing.assert_allclose(engine.encode([image])[0], alone(image, (64, 80), (2, 1, 0)), atol=1e-5)


def test_one_image_of_a_camera(engine):
    image, called = picture(90, 120), []
    descriptor = engine.encode_one(CameraImage(image[..., ::-1].copy(), BGR), called.append)
    np.testing.assert_allclose(descriptor, engine.encode([image])[0], atol=1e-6)
    assert called == [None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    np.testing.assert_allclose(
        engine.encode_one(CameraImage(grey[..., None], GREY)),
        engine.encode([np.repeat(grey[..., None], 3, axis=2)])[0],
        atol=1e-6,
    )


@pytest.mark.parametrize("size", [(64, 80), (200, 75), (90, 120)])
@pytest.mark.parametrize("input_size", [[64, 80], 64])
def test_an_image_is_brought_to_size_beforehand_as_in_a_batch(copy, size, input_size):
    engine = opened(copy(input_size=input_size))
    image = picture(*size)
    image.flags.writeable = False
    fitted = engine.fit(image)
    assert fitted.dtype == np.uint8
    assert fitted.shape[:2] == (64, 80) if isinstance(input_size, list) else min(fitted.shape[:2]) == 64
    np.testing.assert_allclose(engine.encode([fitted]), engine.encode([image]), atol=1e-6)


def test_an_image_that_cannot_be_brought_to_size(engine):
    with input_error("2000x20", "8 to 1"):
        engine.fit(picture(20, 2000))
    with input_error("2000x20", "8 to 1"):
        engine.encode([picture(20, 2000)])


def test_a_model_that_takes_one_image_of_one_size(tmp_path):
    fixed = describe(write_model(Foreign(), tmp_path / "fixed.onnx", shape=(1, 3, 64, 80), moving=()))
    pictures = [picture(64, 80, seed) for seed in range(3)]
    expected = [alone(image, (64, 80)) for image in pictures]
    np.testing.assert_allclose(opened(fixed).encode(pictures), expected, atol=1e-5)


def test_a_model_that_takes_half_precision(tmp_path):
    file = describe(write_model(Foreign(), tmp_path / "half.onnx", dtype=torch.float16))
    encoded = opened(file).encode([picture(64, 80)])
    assert encoded.dtype == np.float32
    assert encoded[0] @ alone(picture(64, 80), (64, 80)) > 0.9999
    assert np.linalg.norm(encoded[0]) == pytest.approx(1, abs=1e-6)


# --- what is not what is said


class Gives(nn.Module):
    """Gives something else than descriptors."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, images):
        return self.what(images)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda images: images.mean(dim=(2, 3)), "gives (1, 3), expected (1, 48)"),
        (lambda images: images.flatten(1)[:, :48, None, None], "gives (1, 48, 1, 1), expected (1, 48)"),
        (lambda images: images.flatten(1)[:, :48] / 0 * 0, "not finite"),
    ],
    ids=["dimension", "map", "nan"],
)
def test_what_it_gives_is_looked_at(tmp_path, what, told):
    file = describe(write_model(Gives(what), tmp_path / "model.onnx"))
    with input_error(file, told):
        opened(file)


def test_a_wrong_dimension(copy):
    with input_error("gives (1, 48), expected (1, 64)", "correct dimension in model.yaml"):
        opened(copy(dimension=64))


def test_a_wrong_size(tmp_path, copy):
    """Of a model that takes one size alone, and of one that fails on others when it runs."""
    fixed = write_model(Foreign(), tmp_path / "fixed.onnx", moving=("batch",))
    with input_error(fixed, "input_size (80, 64)", "[64, 80]"):
        opened(describe(fixed, input_size=[80, 64]))
    with input_error(fixed, "input_size 64", "[64, 80]"):
        opened(describe(fixed, input_size=64))
    with input_error("fails on 4x3", "correct input_size in model.yaml"):
        opened(copy(input_size=[3, 4]))


def test_other_inputs(tmp_path):
    for name, kind, sides in (
        ("two", 1, [[1, 3, 4, 4]] * 2),
        ("bytes", 2, [[1, 3, 4, 4]]),
        ("flat", 1, [[1, 3]]),
    ):
        values = [
            helper.make_tensor_value_info(f"x{n}", kind, side) for n, side in enumerate([*sides, sides[0]])
        ]
        nodes = [helper.make_node("Identity", ["x0"], [values[-1].name])]
        made = helper.make_model(
            helper.make_graph(nodes, "g", values[:-1], values[-1:]),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
        onnx.save(made, tmp_path / f"{name}.onnx")
        with input_error(f"{name}.onnx", "expected one float32 or float16 batch"):
            opened(describe(tmp_path / f"{name}.onnx"))
    for name, shape in (("grey", (1, 1, 64, 80)), ("pairs", (2, 3, 64, 80))):
        model = Gives(lambda images: images.flatten(1)[:, :48])
        with input_error(f"{name}.onnx", "expected (B, 3, H, W)"):
            opened(describe(write_model(model, tmp_path / f"{name}.onnx", shape, moving=())))


def test_damaged_models(copy):
    file = copy()
    whole = file.read_bytes()
    for wrong in (b"", b"nonsense", whole[:-100], whole.replace(b"Conv", b"Conk")):
        file.write_bytes(wrong)
        with input_error(file, "again"):
            opened(file)


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".pth", ".ckpt"])
def test_files_that_are_programs_are_not_opened(tmp_path, suffix):
    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    file = tmp_path / f"model{suffix}"
    torch.save({"model": Runs()}, file)
    with input_error(file, "may run code", "export any other model to ONNX"):
        load_model(file)
    assert not (tmp_path / "ran").exists()


# --- devices


def test_our_own_weights_have_our_own_engine(weights, file):
    assert isinstance(open_engine(weights, "cpu"), Engine)
    assert isinstance(open_engine(file, "cpu"), ExportedEngine)


def test_bfloat16_is_for_our_own(file):
    assert engine_on(load_model(file), "cpu", bfloat16=True).runs_on == "CPU by onnxruntime"


def test_onnxruntime_that_is_not_installed(file, monkeypatch):
    whole = builtins.__import__

    def without(name, *arguments, **options):
        if name == "onnxruntime":
            raise ImportError(name)
        return whole(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.setattr(builtins, "__import__", without)
    with input_error(file, "pip install onnxruntime"):
        opened(file)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Let onnxruntime have GPUs; return what providers it is asked for, while a processor computes."""
    asked = []
    whole = onnxruntime.InferenceSession

    class Session:
        lacking = None

        def __init__(self, path, options, providers, enable_fallback):
            assert not enable_fallback
            if Session.lacking in dict(providers):
                raise RuntimeError("libnvinfer.so.10: no such file")
            asked.append(dict(providers))
            self.inner = whole(path, options, providers=[CPU])

        def get_providers(self):
            return list(asked[-1])

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["Odd", CPU, CUDA, TENSORRT])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


def test_the_fastest_that_there_is(file, asked, tmp_path):
    engine = ExportedEngine(read_exported(file), "auto")
    assert list(asked[0]) == [TENSORRT, CUDA, CPU]
    assert engine.runs_on == "TensorRT and CUDA and CPU by onnxruntime"
    assert engine.device.type == ("cuda" if torch.cuda.is_available() else "cpu")  # where PyTorch can search
    cache = tmp_path / "cache" / "vpr_ros" / "tensorrt"
    assert asked[0][TENSORRT]["trt_engine_cache_path"] == str(cache)
    assert cache.stat().st_mode & 0o777 == 0o700


def test_tensorrt_whose_libraries_are_not_installed(file, asked, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "lacking", TENSORRT)
    engine = ExportedEngine(read_exported(file), "auto")
    assert list(asked[0]) == [CUDA, CPU]
    assert engine.runs_on == "CUDA and CPU by onnxruntime"


def test_the_processor_where_it_is_asked_for(file, asked):
    ExportedEngine(read_exported(file), "cpu")
    assert list(asked[0]) == [CPU]


def test_a_certain_gpu(file, asked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    engine = ExportedEngine(read_exported(file), "cuda:1")
    assert asked[0][CUDA]["device_id"] == asked[0][TENSORRT]["device_id"] == 1
    assert engine.device == torch.device("cuda", 1)


def test_a_gpu_that_onnxruntime_has_not(file, monkeypatch, caplog):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with input_error("'cuda'", "install onnxruntime-gpu", "use 'cpu'"):
        ExportedEngine(read_exported(file), "cuda")
    assert ExportedEngine(read_exported(file), "auto").device.type == "cpu"
    assert "cannot use the GPU" in caplog.text


def test_memory_that_is_used_up_is_told_as_pytorch_tells_it(file, asked, monkeypatch):
    engine = ExportedEngine(read_exported(file), "auto")

    def run(*_):
        raise RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested buffer of size 9")

    monkeypatch.setattr(engine._session, "run", run, raising=False)
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"model\.onnx"):
        engine.encode([picture(64, 80)])
    # and while it is opened: that is not the model's fault
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run, raising=False)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ExportedEngine(read_exported(file), "auto")


def test_nobody_is_told(file, tmp_path):
    """onnxruntime's telemetry, which begins by writing a number of the machine, does not begin."""
    program = (
        "import sys; from pathlib import Path; from vpr_ros.open_engine import open_engine; "
        "open_engine(Path(sys.argv[1]), 'cpu')"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", program, str(file)], env=environment | home, check=True, timeout=120
    )
    assert list(tmp_path.rglob("deviceid")) == []
