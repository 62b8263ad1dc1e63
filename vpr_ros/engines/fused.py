"""Layers of a trunk that compute the same on a GPU, without a gradient, in less time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vpr_ros.errors import first_line

logger = logging.getLogger(__name__)

_LARGEST = """template <typename T> T largest_of_four(T a, T b, T c, T d) {
    T first = a > b ? a : b;
    T second = c > d ? c : d;
    return first > second ? first : second;
}"""


class Convolution(nn.Module):
    """A convolution, and a ReLU after it where there is one, in one kernel of cuDNN's choice.

    On an H100 VGG-16 takes 0.55 of the time with a batch, 0.22 with one image.

    Shape:
        - Input: (B, C, H, W) on a GPU, without gradient.
        - Output: (B, D, H', W').
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.relu = False

    def forward(self, inputs: Tensor) -> Tensor:
        layer = self.convolution
        assert not isinstance(layer.padding, str)  # noqa: S101  for mypy: no trunk has any
        assert layer.bias is not None  # noqa: S101
        if self.relu:
            shape = layer.stride, layer.padding, layer.dilation, layer.groups
            return torch.cudnn_convolution_relu(inputs, layer.weight, layer.bias, *shape)
        shape = layer.padding, layer.stride, layer.dilation, layer.groups
        # neither benchmarked nor deterministic, TF32 for what is float32
        product = torch.cudnn_convolution(inputs, layer.weight, *shape, False, False, True)
        return product + layer.bias[:, None, None]


class MaxPool2x2(nn.Module):
    """Max pooling of 2 x 2 without the indices that PyTorch's own writes: a third of its time on an H100.

    Shape:
        - Input: (B, C, H, W), channels-last.
        - Output: (B, C, H // 2, W // 2), channels-last.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        count, channels, height, width = inputs.shape
        even = inputs[..., : height // 2 * 2, : width // 2 * 2]
        if inputs.is_cuda and (largest := _largest_of_four()) is not None:
            return largest(*(even[..., down::2, across::2] for down in (0, 1) for across in (0, 1)))
        windows = even.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width // 2, 2, channels)
        return windows.amax(dim=(2, 4)).permute(0, 3, 1, 2)


@cache
def _largest_of_four() -> Callable[..., Tensor] | None:
    """Return what makes of four tensors one of the largest values, in one pass; None where nothing does.

    NVRTC, which comes with PyTorch, compiles it, once for a machine: PyTorch keeps it in a cache.
    """
    try:
        largest = torch.cuda.jiterator._create_jit_fn(_LARGEST)
        largest(*torch.ones(4, 1, dtype=torch.half, device="cuda"))
    except (RuntimeError, AttributeError, ImportError) as error:
        logger.warning("max pooling is slower than it could be: %s", first_line(error))
        return None
    return cast("Callable[..., Tensor]", largest)


def fused(layers: nn.Sequential) -> nn.Sequential:
    """Return layers that compute the same on a GPU, faster, without a gradient."""
    result: list[nn.Module] = []
    for layer in layers:
        last = result[-1] if result else None
        if isinstance(layer, nn.Conv2d):
            result.append(Convolution(layer))
        elif isinstance(layer, nn.ReLU) and isinstance(last, Convolution):
            last.relu = True
        elif isinstance(layer, nn.MaxPool2d) and (layer.kernel_size, layer.stride) == (2, 2):
            result.append(MaxPool2x2())
        else:
            result.append(layer)
    return nn.Sequential(*result)


def with_channels(layers: nn.Sequential, channels: int) -> nn.Sequential:
    """Let the first layer, a convolution, take so many channels; those added count for nothing."""
    first = layers[0].convolution
    assert isinstance(first, nn.Conv2d)  # noqa: S101  for mypy
    weight = F.pad(first.weight, (0, 0, 0, 0, 0, channels - first.in_channels))
    first.weight, first.in_channels = nn.Parameter(weight, first.weight.requires_grad), channels
    return layers
