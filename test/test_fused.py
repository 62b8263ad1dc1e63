"""Fused layers compute what the plain ones do."""

import copy

import pytest
import torch
from torch import nn

from vpr_ros.engines.fused import Convolution, MaxPool2x2, fused, with_channels


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 9), (2, 2), (3, 2)])
def test_pooling_without_indices_is_pooling(height, width):
    inputs = torch.randn(2, 5, height, width).contiguous(memory_format=torch.channels_last)
    pooled = MaxPool2x2()(inputs)
    assert torch.equal(pooled, nn.MaxPool2d(2, 2)(inputs))
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_fused_layers_stand_for_each_of_those_given():
    """The kernel itself is a GPU's; that a layer is left out or doubled would be seen here."""
    convolutions = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 5, 3)]
    layers = nn.Sequential(
        *(convolutions[0], nn.ReLU(), nn.MaxPool2d(2, 2), convolutions[1], nn.ReLU()),
        *(nn.MaxPool2d(3, 2), convolutions[2], nn.Sigmoid()),
    )
    kinds = [Convolution, MaxPool2x2, Convolution, nn.MaxPool2d, Convolution, nn.Sigmoid]
    result = fused(layers)
    assert [type(layer) for layer in result] == kinds
    assert [result[0].relu, result[2].relu, result[4].relu] == [True, True, False]
    assert [result[0].convolution, result[2].convolution, result[4].convolution] == convolutions


def test_channels_are_added_that_count_for_nothing():
    plain = nn.Conv2d(3, 4, 3)
    expected = plain(torch.ones(1, 3, 5, 5))
    layers = with_channels(nn.Sequential(Convolution(copy.deepcopy(plain)), nn.ReLU()), 4)
    found = layers[0].convolution(torch.cat([torch.ones(1, 3, 5, 5), torch.full((1, 1, 5, 5), 7.0)], dim=1))
    torch.testing.assert_close(found, expected)
