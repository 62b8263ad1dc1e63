"""ResNet up to conv4, its batch normalisation folded into its convolutions.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. With the few images of a tuple the
statistics of batch normalisation would be frozen anyway; folded, they cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

#: Blocks of conv2, conv3 and conv4.
RESNET18_BLOCKS = (2, 2, 2)
RESNET50_BLOCKS = (3, 4, 6)
#: How much wider a bottleneck's output is than its 3 x 3 convolution.
_EXPANSION = 4
#: Of torchvision's batch normalisation.
_EPSILON = 1e-5
#: What comes before the first block: convolution, ReLU, max pooling.
_STEM = 3


class Residual(nn.Module):
    """A block: ReLU of what its convolutions add to its input.

    Shape:
        - Input: (B, C, H, W).
        - Output: (B, D, H / stride, W / stride), rounded up.
    """

    def __init__(self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Module) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for convolution in convolutions:
            layers += [convolution, nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu_(self.body(inputs) + self.shortcut(inputs))


def resnet18() -> nn.Sequential:
    """Return ResNet-18 up to conv4, with random weights: (B, 3, H, W) to (B, 256, H / 16, W / 16)."""
    return _resnet(RESNET18_BLOCKS, _basic, 1)


def resnet50() -> nn.Sequential:
    """Return ResNet-50 up to conv4, with random weights: (B, 3, H, W) to (B, 1024, H / 16, W / 16)."""
    return _resnet(RESNET50_BLOCKS, _bottleneck, _EXPANSION)


def _basic(channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    return [nn.Conv2d(channels, width, 3, stride, 1), nn.Conv2d(width, width, 3, 1, 1)]


def _bottleneck(channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    return [
        nn.Conv2d(channels, width, 1),
        nn.Conv2d(width, width, 3, stride, 1),  # torchvision strides here, the paper one earlier
        nn.Conv2d(width, _EXPANSION * width, 1),
    ]


def _resnet(
    blocks: Sequence[int], body: Callable[[int, int, int], list[nn.Conv2d]], expansion: int
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for number, count in enumerate(blocks):
        width = 64 << number
        for block in range(count):
            stride = 2 if number and not block else 1
            same = stride == 1 and channels == expansion * width
            shortcut = nn.Identity() if same else nn.Conv2d(channels, expansion * width, 1, stride)
            layers.append(Residual(body(channels, width, stride), shortcut))
            channels = expansion * width
    return nn.Sequential(*layers)


def layer_names(blocks: Sequence[int]) -> tuple[str, ...]:
    """Return the paper's names of the layers: conv1, and a block each."""
    numbered = enumerate(blocks, start=2)
    return ("conv1", *(f"conv{number}_{block + 1}" for number, count in numbered for block in range(count)))


def folded(blocks: Sequence[int], state: Mapping[str, Tensor], key: str) -> Tensor:
    """Return one tensor of a trunk, from torchvision's convolutions and batch normalisation.

    Args:
        blocks: of the trunk.
        state: by torchvision's names.
        key: the trunk's own name: "0.weight", "3.body.2.bias", "5.shortcut.weight" ...

    Raises KeyError with torchvision's name of what is not there.
    """
    path, _, kind = key.rpartition(".")
    convolution, norm = _theirs(blocks, path)
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    if kind == "bias":
        return state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return state[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)


def _theirs(blocks: Sequence[int], path: str) -> tuple[str, str]:
    """Return torchvision's names of a convolution and of what normalises it."""
    number, *inside = path.split(".")
    if not inside:
        return "conv1", "bn1"
    starts = [(layer, block) for layer, count in enumerate(blocks, start=1) for block in range(count)]
    layer, block = starts[int(number) - _STEM]
    prefix = f"layer{layer}.{block}"
    if inside[0] == "shortcut":
        return f"{prefix}.downsample.0", f"{prefix}.downsample.1"
    convolution = int(inside[1]) // 2 + 1
    return f"{prefix}.conv{convolution}", f"{prefix}.bn{convolution}"
