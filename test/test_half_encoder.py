"""The fast encoder computes what the encoder does, within the precision it chose."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from test.small_training import narrow_encoder
from vpr_ros.encoder import DEFAULT_WEIGHTS, Architecture, Encoder, load_encoder
from vpr_ros.engine import Engine
from vpr_ros.engines import bfloat16_trunk
from vpr_ros.engines.bfloat16_trunk import bfloat16_but_first, faster_trunk
from vpr_ros.engines.half_encoder import HalfEncoder, HalfWhitening, trunk_precision
from vpr_ros.netvlad import Whitening

CPU = torch.device("cpu")

HAS_IT = "flags\t\t: fpu avx512f avx512_bf16 sse"


def processor(monkeypatch, tmp_path, flags=HAS_IT, faster=2.0):
    """Let the processor be one that says this, and is so many times as fast in bfloat16."""
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(bfloat16_trunk, "CPU_FLAGS", tmp_path / "cpuinfo")
    monkeypatch.setattr(bfloat16_trunk, "_seconds", lambda trunk, _: 1.0 / faster if mixed(trunk) else 1.0)


def mixed(trunk):
    return len({weight.dtype for weight in trunk.parameters()}) > 1


def images(count=3, height=96, width=128):
    coarse = torch.rand(count, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    return (255 * F.interpolate(coarse, (height, width), mode="bilinear")).byte()


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        (HAS_IT, True),
        ("flags : fpu amx_bf16", True),
        ("Features\t: fp asimd i8mm bf16", True),
        ("flags : fpu avx512f sse", False),
        ("Features\t: fp asimd", False),
        ("", False),
    ],
)
def test_bfloat16_where_the_processor_has_it(monkeypatch, tmp_path, flags, has):
    processor(monkeypatch, tmp_path, flags)
    encoder = narrow_encoder().eval()
    assert HalfEncoder(encoder, CPU, bfloat16=True).in_bfloat16 == has
    assert not HalfEncoder(encoder, CPU).in_bfloat16  # unless asked for


def test_a_processor_that_does_not_say(monkeypatch, tmp_path):
    processor(monkeypatch, tmp_path)
    monkeypatch.setattr(bfloat16_trunk, "CPU_FLAGS", tmp_path / "none")
    assert not HalfEncoder(narrow_encoder().eval(), CPU, bfloat16=True).in_bfloat16


def test_a_processor_that_is_slow_at_it(monkeypatch, tmp_path):
    processor(monkeypatch, tmp_path, faster=1.1)
    encoder = narrow_encoder().eval()
    fast = HalfEncoder(encoder, CPU, bfloat16=True)
    assert not fast.in_bfloat16
    torch.testing.assert_close(fast(images()), encoder(images()), atol=1e-5, rtol=1e-4)


def test_a_trunk_that_loses_places(monkeypatch, tmp_path):
    processor(monkeypatch, tmp_path)
    trunk = narrow_encoder().trunk
    assert faster_trunk(trunk, "vgg16", 64) is trunk


def test_it_is_tried_out(monkeypatch, tmp_path):
    """On whatever processor this is."""
    seconds = bfloat16_trunk._seconds
    processor(monkeypatch, tmp_path)
    monkeypatch.setattr(bfloat16_trunk, "_seconds", seconds)
    fast = HalfEncoder(narrow_encoder().eval(), CPU, bfloat16=True)
    assert fast.in_bfloat16 == mixed(fast.trunk)


def test_the_first_convolution_stays_in_float32():
    trunk = narrow_encoder().trunk
    first, *rest = (layer.weight.dtype for layer in bfloat16_but_first(trunk) if isinstance(layer, nn.Conv2d))
    assert first == torch.float32
    assert set(rest) == {torch.bfloat16}
    assert not mixed(trunk)


def test_an_engine_says_that_it_is_in_bfloat16(monkeypatch, tmp_path):
    processor(monkeypatch, tmp_path)
    encoder = narrow_encoder().eval()
    assert Engine(encoder, CPU, bfloat16=True).runs_on == "cpu in bfloat16"
    assert Engine(encoder, CPU).runs_on == "cpu"


def test_a_gpu_has_half_precision():
    assert trunk_precision(torch.device("cuda")) == torch.float16


@pytest.mark.parametrize("pooling", ["netvlad", "max", "gem"])
def test_in_float32_it_is_the_encoder(pooling):
    encoder = narrow_encoder(pooling).eval().requires_grad_(False)
    fast = HalfEncoder(encoder, CPU)
    torch.testing.assert_close(fast(images()), encoder(images()), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fast(images().float()), encoder(images()), atol=1e-5, rtol=1e-4)


def test_the_model_that_ships_keeps_its_descriptors_in_bfloat16(monkeypatch, tmp_path):
    if not DEFAULT_WEIGHTS.is_file():
        pytest.skip(f"no {DEFAULT_WEIGHTS}")
    processor(monkeypatch, tmp_path)
    encoder = load_encoder()
    pictures = torch.cat([images(), *(torch.full((1, 3, 96, 128), grey).byte() for grey in (0, 128, 255))])
    cosines = (HalfEncoder(encoder, CPU, bfloat16=True)(pictures) * encoder(pictures)).sum(dim=1)
    assert cosines.min() > 0.9999


def test_the_encoder_stays_as_it_was(monkeypatch, tmp_path):
    processor(monkeypatch, tmp_path)
    encoder = Encoder(Architecture(clusters=4, dimension=8, input_size=64)).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    HalfEncoder(encoder, CPU, bfloat16=True)
    for name, tensor in encoder.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name]) or tensor.isnan().any(), name


def whitening(depth=32_768, dimension=16, size=1.0):
    result = Whitening(depth, dimension).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    result.weight.normal_(std=size, generator=generator)
    result.bias.normal_(std=0.1 * size, generator=generator)
    return result


@pytest.mark.parametrize("size", [1e-2, 1.0])
def test_whitening_with_a_half_precision_matrix(size):
    """Descriptors of 32 768 numbers, most of them below what half precision holds as they are."""
    generator = torch.Generator().manual_seed(2)
    given = torch.randn(5, 32_768, generator=generator) * torch.rand(5, 32_768, generator=generator) ** 20
    given = F.normalize(given, dim=1)
    whitened = whitening(size=size)
    cosines = (HalfWhitening(whitened)(given) * whitened(given)).sum(dim=1)
    assert cosines.min() > 0.99999
