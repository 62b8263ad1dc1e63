"""An encoder cut in two: what is below stays as it was, what is above is trained, together they are it."""

import pytest
import torch

from test.error_lines import input_error
from test.small_training import narrow_encoder
from training.learning.network import Network

LAYERS = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10, "pooling": 11}


def images(count=3, height=64, width=80, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("pooling", ["netvlad", "max", "gem"])
@pytest.mark.parametrize("layer", LAYERS)
def test_both_parts_together_are_the_encoder(pooling, layer):
    encoder = narrow_encoder(pooling)
    with torch.no_grad():
        expected = encoder(images())
        network = Network(encoder, layer)
        for inputs in (images(), images().float() / 255):  # augmented ones are no bytes any more
            torch.testing.assert_close(network(network.features(inputs)), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(network(network.accept(images())), expected, atol=1e-5, rtol=1e-4)
        # what is cached is accepted as it is
        features = network.features(images())
        assert torch.equal(network.accept(features), features)
    assert network.dimension == expected.shape[1]
    assert network.frozen_layers == LAYERS[layer]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_step_changes_the_layers_from_there_on(layer):
    encoder = narrow_encoder()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    network = Network(encoder, layer)
    below = network.features(images())
    network(below).square().sum(1).sqrt()[0].backward()  # any loss will do
    for parameter in network.parameters():
        assert parameter.grad is not None
        parameter.data -= torch.ones_like(parameter)
    for name, tensor in encoder.state_dict().items():
        frozen = name.startswith("trunk") and int(name.split(".")[1]) < LAYERS[layer]
        assert torch.equal(tensor, before[name]) == frozen, name
    assert torch.equal(network.features(images()), below)  # and what is cached stays true
    # what is saved of a run is what is trained, and brings it back
    again = Network(narrow_encoder(), layer)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(below), network(below))
    assert {len(network.state_dict())} == {sum(1 for _ in network.parameters())}


def test_the_trunk_alone_runs_in_less_precision():
    """NetVLAD's softmax and norms lose recall in bfloat16."""
    encoder, seen = narrow_encoder(), {}
    network = Network(encoder, "conv3", lambda: torch.autocast("cpu", torch.bfloat16))
    network.trained_trunk[0].register_forward_hook(lambda *call: seen.update(trunk=call[2].dtype))
    network.pooling.register_forward_hook(
        lambda _, given, result: seen.update(given=given[0].dtype, pooling=result.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        descriptors = network(network.features(images()))
    assert seen == {"trunk": torch.bfloat16, "given": torch.float32, "pooling": torch.float32}
    with torch.no_grad():
        assert (descriptors - encoder(images())).abs().max() < 0.05


def test_a_layer_that_the_trunk_does_not_have():
    with input_error("conv1_1", "conv1, conv2, conv3, conv4, conv5", "pooling"):
        Network(narrow_encoder(), "conv1_1")
