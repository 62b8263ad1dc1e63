"""The encoder and its weights file: what is written is read again, and damage gives one line."""

import dataclasses
import json
import struct
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from test.error_lines import check_line, input_error, some_cure
from vpr_ros import encoder as module
from vpr_ros.encoder import (
    DEFAULT_WEIGHTS,
    Architecture,
    Encoder,
    load_encoder,
    save_encoder,
)
from vpr_ros.encoders import weights_file
from vpr_ros.encoders.weights_file import FORMAT, weights_metadata
from vpr_ros.errors import InputError

SMALL = Architecture(clusters=3, dimension=5, input_size=64)
few = settings(max_examples=15, deadline=None, derandomize=True)


def make(architecture=SMALL, seed=0):
    torch.manual_seed(seed)
    encoder = Encoder(architecture).eval().requires_grad_(False)
    if encoder.whitening is not None:
        encoder.whitening.weight.copy_(torch.randn_like(encoder.whitening.weight))
        encoder.whitening.bias.copy_(torch.randn_like(encoder.whitening.bias) / 10)
    return encoder


@pytest.fixture(scope="module")
def encoder():
    return make()


@pytest.fixture(scope="module")
def saved(encoder, tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "small.safetensors"
    save_encoder(encoder, file, "three pictures of a cat")
    return file


@pytest.fixture
def tiny_trunk(monkeypatch):
    """One convolution in the place of AlexNet: files of kilobytes, for what does not concern the trunk."""
    monkeypatch.setattr(module, "build_trunk", lambda _: nn.Sequential(nn.Conv2d(3, 256, 2, stride=16)))


@pytest.fixture
def tiny(tiny_trunk, tmp_path):
    file = tmp_path / "tiny.safetensors"
    save_encoder(make(), file, "nothing")
    return file


def rewrite(file, change_metadata=None, change_tensors=None):
    """Write a weights file again with other contents."""
    tensors = load_file(file)
    metadata = weights_metadata(file)
    if change_tensors:
        change_tensors(tensors)
    if change_metadata:
        change_metadata(metadata)
    save_file(tensors, file, metadata={"vpr_ros": json.dumps(metadata)})


def images(height, width, count=1, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, 256, (count, 3, height, width), np.uint8))


# --- images to descriptors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "dimension"),
    [
        (SMALL, 5),
        (Architecture(clusters=3), 3 * 256),
        (Architecture(pooling="max", clusters=0), 256),
        (Architecture(pooling="max", clusters=0, dimension=7), 7),
        (Architecture(trunk="vgg16", clusters=2), 2 * 512),
        (Architecture(trunk="resnet18", pooling="gem", clusters=0), 256),
        (Architecture(trunk="resnet50", pooling="gem", clusters=0, dimension=7), 7),
        (Architecture(trunk="resnet18", clusters=2), 2 * 256),
    ],
)
def test_dimension_and_unit_length(architecture, dimension):
    encoder = make(architecture)
    assert encoder.dimension == dimension
    descriptors = encoder(images(70, 91, count=2))
    assert descriptors.shape == (2, dimension)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))


@few
@given(height=st.integers(63, 200), width=st.integers(63, 200))
def test_any_input_size(encoder, height, width):
    descriptors = encoder(images(height, width))
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(1))


def test_bytes_are_floats_times_255(encoder):
    picture = images(80, 100)
    torch.testing.assert_close(encoder(picture), encoder(picture.float() / 255))


def test_input_is_normalised_with_the_architectures_statistics():
    # pixels stretched by other statistics are the same pixels to the trunk
    other = dataclasses.replace(SMALL, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    first, second = make(SMALL), make(other)
    second.load_state_dict(first.state_dict())
    picture = torch.rand(1, 3, 64, 64)
    same = (picture - first.mean) / first.std * second.std + second.mean
    torch.testing.assert_close(second(same), first(picture), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(second(picture), first(picture), atol=1e-3)


def test_unknown_pooling_names_those_there_are():
    with input_error("median", "netvlad", "max"):
        Encoder(Architecture(pooling="median"))


@few
@given(height=st.integers(8, 300), width=st.integers(8, 300))
@example(height=64, width=512)
@example(height=8, width=8)
def test_fit_size_makes_the_shorter_side_right_and_keeps_aspect(encoder, height, width):
    picture = images(height, width)
    if max(height, width) > 8 * min(height, width):
        with input_error(f"{width}x{height}"):
            encoder.fit_size(picture)
        return
    resized = encoder.fit_size(picture)
    assert resized.dtype == torch.uint8
    assert min(resized.shape[-2:]) == 64
    exact = 64 * max(height, width) / min(height, width)
    assert abs(max(resized.shape[-2:]) - exact) <= 1
    assert (resized.shape[-1] >= resized.shape[-2]) == (width >= height)


@pytest.mark.parametrize("size", [(10, 81), (81, 10), (1, 1000)])
def test_fit_size_refuses_extreme_aspect(encoder, size):
    with input_error(f"{size[1]}x{size[0]}", "8 to 1"):
        encoder.fit_size(images(*size))


@pytest.mark.parametrize("size", [(100, 160), (64, 80), (333, 251), (40, 50)])
@pytest.mark.parametrize("floating", [False, True])
def test_fit_size_is_what_torchvision_does(encoder, size, floating):
    from torchvision.transforms.v2.functional import resize as torchvision_resize

    picture = torch.randint(
        0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    picture = picture.float() / 255 if floating else picture
    expected = torchvision_resize(picture.float(), [encoder.architecture.input_size], antialias=True)
    expected = expected if floating else expected.round().byte()
    for images_given, wanted in ((picture, expected), (picture[0], expected[0])):
        torch.testing.assert_close(encoder.fit_size(images_given), wanted, atol=0, rtol=0)


def test_fit_size_leaves_what_fits(encoder):
    picture = images(64, 90)
    assert torch.equal(encoder.fit_size(picture), picture)


def test_fit_size_does_not_move_what_is_in_the_image(encoder):
    picture = torch.zeros(1, 3, 200, 400, dtype=torch.uint8)
    picture[..., :100, 300:] = 255  # a quarter of the way up, on the right
    resized = encoder.fit_size(picture).float()
    assert (resized[..., :30, 98:] > 250).all()
    assert (resized[..., 34:, :] < 5).all()
    assert (resized[..., :94] < 5).all()


# --- the weights file -------------------------------------------------------------------------------------


def test_float32_file_gives_the_encoder_back_exactly(encoder, saved):
    again = load_encoder(saved)
    assert again.architecture == encoder.architecture
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert torch.equal(again(images(64, 80)), encoder(images(64, 80)))
    assert again.fingerprint() == encoder.fingerprint()


def test_half_file_is_the_encoder_within_half_precision(encoder, saved, tmp_path):
    file = tmp_path / "half.safetensors"
    save_encoder(encoder, file, "nothing", half=True)
    assert file.stat().st_size < 0.51 * saved.stat().st_size
    again = load_encoder(file)
    for name, tensor in encoder.state_dict().items():
        assert again.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=2**-11, atol=2**-24)
    cosine = (again(images(64, 80)) * encoder(images(64, 80))).sum()
    assert cosine > 0.999


def test_half_file_and_its_float32_original_share_a_fingerprint(encoder, tmp_path):
    for half in (False, True):
        save_encoder(encoder, tmp_path / f"{half}.safetensors", "nothing", half=half)
    half, full = (load_encoder(tmp_path / f"{half}.safetensors") for half in (True, False))
    assert half.fingerprint() == full.fingerprint() == encoder.fingerprint()


def test_a_loaded_encoder_is_ready_to_encode(saved):
    again = load_encoder(saved)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_metadata_says_what_the_file_is(saved):
    metadata = weights_metadata(saved)
    assert metadata["trained_on"] == "three pictures of a cat"
    assert metadata["format"] == FORMAT
    assert metadata["version"]
    for field in dataclasses.fields(Architecture):
        assert metadata[field.name] == json.loads(json.dumps(getattr(SMALL, field.name)))


def test_others_may_read_the_file(saved):
    assert saved.stat().st_mode & 0o777 == 0o644


def test_fingerprint_changes_with_every_tensor(tiny_trunk):
    encoder = make()
    seen = {encoder.fingerprint()}
    tensors = encoder.state_dict()
    for tensor in tensors.values():
        first = tensor.view(-1)[0].item()
        tensor.view(-1)[0] = first + 0.5
        seen.add(encoder.fingerprint())
        tensor.view(-1)[0] = first
    assert len(seen) == 1 + len(tensors)
    assert encoder.fingerprint() in seen


@pytest.mark.parametrize(
    "change",
    [
        {"trunk": "vgg16"},
        {"pooling": "max"},
        {"clusters": 4},
        {"dimension": 6},
        {"input_size": 65},
        {"mean": (0.485, 0.456, 0.4)},
        {"std": (0.229, 0.224, 0.2)},
    ],
)
def test_fingerprint_changes_with_every_field(tiny_trunk, change):
    encoder = make()
    before = encoder.fingerprint()
    # the same tensors under another description, which alone must tell
    encoder.architecture = dataclasses.replace(encoder.architecture, **change)
    assert encoder.fingerprint() != before


def test_the_fields_above_are_all_there_are():
    names = {"trunk", "pooling", "clusters", "dimension", "input_size", "mean", "std"}
    assert {field.name for field in dataclasses.fields(Architecture)} == names


def test_a_failing_save_leaves_the_old_file(tiny, monkeypatch):
    before = tiny.read_bytes()

    def full_disk(tensors, file, metadata):
        file.write_bytes(before[: len(before) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(weights_file, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_encoder(make(seed=1), tiny, "nothing")
    assert tiny.read_bytes() == before


def test_a_killed_save_leaves_the_old_file_and_the_next_one_succeeds(tiny, monkeypatch):
    before = tiny.read_bytes()

    def killed(tensors, file, metadata):
        file.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights_file, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            save_encoder(make(seed=1), tiny, "nothing")
    assert tiny.read_bytes() == before
    save_encoder(make(seed=1), tiny, "nothing")
    assert load_encoder(tiny).fingerprint() == make(seed=1).fingerprint()
    assert [file.name for file in tiny.parent.iterdir()] == [tiny.name]


def test_folders_on_the_way_are_made(tiny_trunk, tmp_path):
    save_encoder(make(), tmp_path / "a" / "b" / "weights.safetensors", "nothing")
    assert load_encoder(tmp_path / "a" / "b" / "weights.safetensors").architecture == SMALL


# --- damage -----------------------------------------------------------------------------------------------


def refused(file, *parts):
    with input_error(file, *parts) as caught:
        load_encoder(file)
    assert some_cure(str(caught.value)), caught.value


def test_missing_file(tmp_path):
    refused(tmp_path / "gone.safetensors", "no such")
    refused(tmp_path)  # a folder is none either


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\x00" * 64, b"\xff" * 64, b"# Weights\n\nDownload them\nyourself.\n" * 9],
    ids=["empty", "byte", "zeros", "ones", "text"],
)
def test_not_safetensors(tmp_path, content):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    refused(file)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9])
def test_truncated(tiny, share):
    whole = tiny.read_bytes()
    tiny.write_bytes(whole[: int(share * len(whole))])
    refused(tiny)


def test_last_byte_missing(tiny):
    tiny.write_bytes(tiny.read_bytes()[:-1])
    refused(tiny)


def test_every_flipped_byte_of_the_header_is_read_or_refused(tiny):
    whole = tiny.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    results = set()
    for place in range(header):
        for mask in (0x01, 0x80):
            tiny.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
            try:
                load_encoder(tiny)
                results.add("read")  # a letter of trained_on, say
            except InputError as error:
                check_line(error, tiny)
                results.add("refused")
    assert results == {"read", "refused"}


def test_safetensors_of_another_program(tiny):
    tensors = load_file(tiny)
    save_file(tensors, tiny)
    refused(tiny, "vpr_ros")
    save_file(tensors, tiny, metadata={"format": "pt"})
    refused(tiny, "vpr_ros")


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", '"text"', "{}", "[" * 100_000], ids=lambda text: text[:6] or "empty"
)
def test_metadata_that_is_no_description(tiny, text):
    save_file(load_file(tiny), tiny, metadata={"vpr_ros": text})
    refused(tiny)


@pytest.mark.parametrize("number", [FORMAT + 1, 99, 0, None, "1", []])
def test_another_format(tiny, number):
    rewrite(tiny, lambda metadata: metadata.update(format=number))
    refused(tiny, f"format {number}")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Architecture)])
@pytest.mark.parametrize(
    "value",
    [None, "x\ny", -1, 10**12, float("nan"), float("inf"), [], {}, [[1, 2], [3]], "gone"],
    ids=repr,
)
def test_metadata_with_absurd_values(tiny, field, value):
    def change(metadata):
        if value == "gone":
            del metadata[field]
        else:
            metadata[field] = value

    rewrite(tiny, change)
    refused(tiny)


@pytest.mark.parametrize("value", [[0.5, 0.5], [0.5] * 4, [float("nan")] * 3, [float("inf")] * 3, ["x"] * 3])
@pytest.mark.parametrize("field", ["mean", "std"])
def test_statistics_that_are_not_three_numbers(tiny, field, value):
    rewrite(tiny, lambda metadata: metadata.update({field: value}))
    refused(tiny)


@pytest.mark.parametrize("value", [[0.0, 0.2, 0.2], [-0.2, 0.2, 0.2]])
def test_deviations_are_positive(tiny, value):
    rewrite(tiny, lambda metadata: metadata.update(std=value))
    refused(tiny, "std")


def test_sizes_that_together_ask_for_more_than_there_is(tiny):
    # each within its bounds; the whitening matrix of it would take 275 GB
    rewrite(tiny, lambda metadata: metadata.update(clusters=4096, dimension=65536))
    with input_error(tiny):
        load_encoder(tiny)


def test_tensor_missing(tiny):
    rewrite(tiny, change_tensors=lambda tensors: tensors.pop("pooling.centres"))
    with input_error(tiny, "pooling.centres"):
        load_encoder(tiny)


def test_tensor_of_another_shape(tiny):
    def change(tensors):
        tensors["pooling.centres"] = torch.zeros(4, 256)

    rewrite(tiny, change_tensors=change)
    with input_error(tiny, "pooling.centres", "(4, 256)", "(3, 256)"):
        load_encoder(tiny)


def test_tensor_nobody_knows(tiny):
    rewrite(tiny, change_tensors=lambda tensors: tensors.update(extra=torch.zeros(2)))
    with input_error(tiny, "extra"):
        load_encoder(tiny)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["trunk.0.weight", "pooling.bias", "whitening.weight"])
def test_tensor_with_a_value_that_is_none(tiny, name, value):
    def change(tensors):
        tensors[name].view(-1)[-1] = value

    rewrite(tiny, change_tensors=change)
    refused(tiny, name)


# --- the model that ships ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    if not DEFAULT_WEIGHTS.is_file():
        pytest.skip(f"no {DEFAULT_WEIGHTS}")
    return DEFAULT_WEIGHTS


def test_shipped_model_is_what_the_readme_promises(shipped):
    assert shipped.stat().st_size <= 16 * 2**20
    metadata = weights_metadata(shipped)
    assert metadata["trunk"] == "alexnet"
    assert metadata["pooling"] == "netvlad"
    assert metadata["clusters"] == 64
    assert 0 < metadata["dimension"] <= 256
    assert len(metadata["trained_on"]) > 20
    assert {tensor.dtype for tensor in load_file(shipped).values()} == {torch.float16}


def test_shipped_model_tells_pictures_apart(shipped):
    encoder = load_encoder()
    first, second = (
        encoder(encoder.fit_size(torch.kron(images(6, 8, seed=seed), torch.ones(1, 1, 40, 40)).byte()))
        for seed in (0, 1)
    )
    brighter = encoder(
        encoder.fit_size((torch.kron(images(6, 8, seed=0), torch.ones(1, 1, 40, 40)) * 0.9).byte())
    )
    assert (first * brighter).sum() > (first * second).sum() + 0.03


def test_one_model_ships_and_loads_without_a_warning(shipped):
    assert [file.name for file in shipped.parent.glob("*.safetensors")] == [shipped.name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_encoder(shipped).dimension == weights_metadata(shipped)["dimension"]
