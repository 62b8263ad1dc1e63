"""A hand-crafted encoder and its file: what is written is read again, and damage gives one line."""

import dataclasses
import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from test.conftest import texture
from test.error_lines import check_line, input_error, some_cure
from test.small_hand_crafted import SMALL, hand_crafted_weights, make
from vpr_ros.encoder import load_encoder
from vpr_ros.encoders.hand_crafted import HandCrafted, load_hand_crafted
from vpr_ros.encoders.weights_file import FORMAT, weights_metadata
from vpr_ros.errors import InputError
from vpr_ros.open_engine import load_model

FISHER = dataclasses.replace(SMALL, aggregate="fisher", dimension=0)
both = pytest.mark.parametrize("architecture", [SMALL, FISHER], ids=["vlad", "fisher"])


@pytest.fixture
def file(tmp_path):
    return hand_crafted_weights(tmp_path / "small.safetensors")


def rewrite(file, tensors=None, **metadata):
    """Write a file again with other contents."""
    said = {key: each for key, each in (weights_metadata(file) | metadata).items() if each != "gone"}
    save_file(load_file(file) if tensors is None else tensors, file, metadata={"vpr_ros": json.dumps(said)})


def refused(file, *parts):
    with input_error(file, *parts) as caught:
        load_model(file)
    text = str(caught.value)
    assert some_cure(text) or "learn it again" in text, text


# --- descriptors


@both
@pytest.mark.parametrize("dimension", [0, 24])
def test_whatever_is_shown_a_descriptor_has_unit_length(architecture, dimension):
    encoder = make(dataclasses.replace(architecture, dimension=dimension))
    local = encoder.local(texture(0, 64, 80))
    for each in (local, local[:1], local[:0]):
        described = encoder(each)
        assert described.shape == (encoder.dimension,)
        assert described.norm().item() == pytest.approx(1, abs=1e-5)


def test_without_features_and_whitening_each_element_is_the_same():
    encoder = make(dataclasses.replace(SMALL, dimension=0))
    described = encoder(torch.empty(0, 128))
    assert described.min() == described.max() > 0


# --- the file


@both
def test_what_is_written_is_read_again(tmp_path, architecture):
    encoder = make(architecture)
    again = load_model(hand_crafted_weights(tmp_path / "a.safetensors", architecture))
    assert again.architecture == architecture
    assert again.fingerprint() == encoder.fingerprint()
    local = encoder.local(texture(0, 64, 80))
    assert torch.equal(again(local), encoder(local))
    assert not any(tensor.requires_grad for tensor in again.parameters())
    metadata = weights_metadata(tmp_path / "a.safetensors")
    assert (metadata["architecture"], metadata["format"]) == ("hand-crafted", FORMAT)
    assert metadata["trained_on"] == "nothing: a test"


@both
def test_fingerprint_changes_with_every_tensor_and_field(architecture):
    encoder = make(architecture)
    seen = {encoder.fingerprint()}
    tensors = encoder.state_dict()
    for tensor in tensors.values():
        tensor.view(-1)[0] += 0.5
        seen.add(encoder.fingerprint())
    changes = {"features": "sift", "aggregate": "fisher", "centres": 5, "dimension": 25, "input_size": 65}
    if architecture.aggregate == "fisher":
        changes["aggregate"] = "vlad"
    for field in dataclasses.fields(HandCrafted):
        change = {field.name: (changes | {"step": 9})[field.name]}
        encoder.architecture = dataclasses.replace(architecture, **change)
        seen.add(encoder.fingerprint())
    assert len(seen) == 1 + len(tensors) + len(dataclasses.fields(HandCrafted))


@both
def test_a_tensor_that_is_missing_or_of_another_shape(tmp_path, architecture):
    file = hand_crafted_weights(tmp_path / "a.safetensors", architecture)
    whole = load_file(file)
    for name in whole:
        rewrite(file, {key: each for key, each in whole.items() if key != name})
        refused(file, name)
        rewrite(file, whole | {name: whole[name][:-1]})
        refused(file, name)
        spoilt = whole[name].clone()
        spoilt.view(-1)[0] = float("nan")
        rewrite(file, whole | {name: spoilt})
        refused(file, name, "finite")
    rewrite(file, whole | {"more": torch.zeros(2)})
    refused(file, "more")


@pytest.mark.parametrize("name", ["aggregate.weights", "aggregate.variances"])
def test_what_is_divided_by_is_positive(tmp_path, name):
    file = hand_crafted_weights(tmp_path / "a.safetensors", FISHER)
    tensors = load_file(file)
    tensors[name].view(-1)[0] = 0
    rewrite(file, tensors)
    refused(file, name, "positive")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(HandCrafted)])
@pytest.mark.parametrize(
    "value", [None, "x\ny", -1, 10**12, float("nan"), 4.5, True, [], {}, "gone"], ids=repr
)
def test_metadata_with_absurd_values(file, field, value):
    rewrite(file, **{field: value})
    refused(file, field)


def test_sizes_that_together_ask_for_more_than_there_is(file):
    # each within its bounds; the whitening matrix of it would take 137 GB
    rewrite(file, centres=4096, dimension=65536)
    refused(file, "centres")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9])
def test_truncated(file, share):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    refused(file)


def test_every_flipped_byte_of_the_header_is_read_or_refused(file):
    whole = file.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    results = set()
    for place in range(header):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        try:
            load_model(file)
            results.add("read")
        except InputError as error:
            check_line(error, file)
            results.add("refused")
    assert results == {"read", "refused"}


def test_another_format(file):
    rewrite(file, format=FORMAT + 1)
    refused(file, f"format {FORMAT + 1}", "install")


def test_a_network_and_a_hand_crafted_encoder_are_not_taken_for_each_other(file, weights):
    with input_error(file, "hand-crafted", "expected the weights of a network"):
        load_encoder(file)
    with input_error(weights, "expected a hand-crafted encoder"):
        load_hand_crafted(weights)
    rewrite(file, architecture="transformer")
    refused(file, "transformer")
