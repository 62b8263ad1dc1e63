"""The trunks, cropped, and where their ImageNet weights come from.

AlexNet and VGG-16 end at conv5 before its last ReLU, as the paper has them, ResNet at conv4.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vpr_ros.encoders.resnet import RESNET18_BLOCKS, RESNET50_BLOCKS, folded, layer_names, resnet18, resnet50
from vpr_ros.errors import InputError, first_line

#: Per-channel statistics of the RGB input in 0-1 that torchvision's ImageNet classifiers were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TrunkSpec:
    """One trunk: what it is made of, and where its ImageNet weights are."""

    build: Callable[[], nn.Sequential]
    weights: Callable[[], Any]  # torchvision's entry for them
    tensor: Callable[[Mapping[str, Tensor], str], Tensor]  # of torchvision's, by the trunk's own name
    depth: int  # D, the channels of its output
    layers: tuple[str, ...]  # the names of those of its layers that have weights, in order
    train_from: str  # the first layer that is trained: the paper's


# Layer by layer, and not taken from torchvision: that takes longer to import than the node to start, and on
# some robots there is none for their PyTorch.


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(inplace=True)),
        nn.Conv2d(256, 256, 3, 1, 1),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for block, (convolutions, depth) in enumerate(VGG16_BLOCKS):
        layers += [nn.MaxPool2d(2, 2)] if block else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, depth, 3, 1, 1), nn.ReLU(inplace=True)]
            channels = depth
    return nn.Sequential(*layers[:-1])


def _torchvision(name: str) -> Callable[[], Any]:
    def weights() -> Any:
        from torchvision.models import get_weight  # noqa: PLC0415

        return get_weight(f"{name}_Weights.IMAGENET1K_V1")

    return weights


def _of_features(state: Mapping[str, Tensor], key: str) -> Tensor:
    """Return a tensor of torchvision's `features`, with or without that prefix."""
    return state[key] if key in state else state[f"features.{key}"]


#: Convolutions of each block, and their channels.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
TRUNKS = {
    "alexnet": TrunkSpec(
        _alexnet,
        _torchvision("AlexNet"),
        _of_features,
        depth=256,
        layers=("conv1", "conv2", "conv3", "conv4", "conv5"),
        train_from="conv2",
    ),
    "vgg16": TrunkSpec(
        _vgg16,
        _torchvision("VGG16"),
        _of_features,
        depth=512,
        layers=tuple(
            f"conv{block}_{layer}"
            for block, (layers, _) in enumerate(VGG16_BLOCKS, start=1)
            for layer in range(1, layers + 1)
        ),
        train_from="conv5_1",
    ),
    "resnet18": TrunkSpec(
        resnet18,
        _torchvision("ResNet18"),
        partial(folded, RESNET18_BLOCKS),
        depth=256,
        layers=layer_names(RESNET18_BLOCKS),
        train_from="conv4_1",
    ),
    "resnet50": TrunkSpec(
        resnet50,
        _torchvision("ResNet50"),
        partial(folded, RESNET50_BLOCKS),
        depth=1024,
        layers=layer_names(RESNET50_BLOCKS),
        train_from="conv4_1",
    ),
}


def trunk_spec(name: str) -> TrunkSpec:
    """Return the trunk of that name, or raise InputError with the names there are."""
    if name not in TRUNKS:
        raise InputError(f"unknown trunk '{name}': expected one of {', '.join(TRUNKS)}")
    return TRUNKS[name]


def build_trunk(name: str) -> nn.Sequential:
    """Return the cropped trunk with random weights.

    Shape:
        - Input: (B, 3, H, W), normalised RGB, H and W of at least 62 (alexnet) or 16 (the others).
        - Output: (B, D, H / 16, W / 16), about.
    """
    return trunk_spec(name).build()


def layer_index(trunk: nn.Sequential, name: str, layer: str) -> int:
    """Return where a layer begins in a trunk, its length for "pooling".

    Args:
        trunk: of `build_trunk(name)`.
        name: of the trunk.
        layer: "conv1_1" ... "conv5_3" (vgg16), "conv1" ... "conv5" (alexnet), "conv1", "conv2_1" ... (resnet,
            a block each), or "pooling", what follows.
    """
    layers = trunk_spec(name).layers
    if layer == "pooling":
        return len(trunk)
    if layer not in layers:
        raise InputError(f"trunk '{name}' has no layer '{layer}': expected {', '.join(layers)} or pooling")
    numbers = [number for number, module in enumerate(trunk) if any(True for _ in module.parameters())]
    return numbers[layers.index(layer)]


def load_imagenet_weights(trunk: nn.Sequential, name: str, file: Path | None = None) -> None:
    """Fill a trunk with torchvision's ImageNet weights.

    Args:
        trunk: of `build_trunk(name)`.
        name: of the trunk.
        file: a safetensors file or state dict with torchvision's names ("features.0.weight", "conv1.weight");
            without it, torchvision's cache or download.
    """
    state = _read_state(file) if file else _fetch_state(name)
    tensors = {key: value.float() for key, value in state.items() if isinstance(value, Tensor)}
    expected = f"expected the weights of torchvision's {name}"
    own: dict[str, Tensor] = {}
    for key, value in trunk.state_dict().items():
        try:
            own[key] = trunk_spec(name).tensor(tensors, key)
        except KeyError as error:
            raise InputError(f"{file}: no {error.args[0]} for trunk '{name}': {expected}") from error
        except RuntimeError as error:  # of another network, whose tensors do not go together
            raise InputError(f"{file}: not of trunk '{name}' ({first_line(error)}): {expected}") from error
        if own[key].shape != value.shape:
            raise InputError(
                f"{file}: {key} is {tuple(own[key].shape)}, trunk '{name}' has {tuple(value.shape)}: "
                f"{expected}"
            )
    trunk.load_state_dict(own)


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(f"{file}: no such file: expected trunk weights (safetensors or a state dict)")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        if isinstance(error, pickle.UnpicklingError) and "Unsupported global" in str(error):
            raise InputError(
                f"{file}: holds more than tensors, refused: save its state dict alone"
            ) from error
        raise InputError(
            f"{file}: not readable as trunk weights ({first_line(error)}): expected a state dict"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"{file}: holds a {type(state).__name__}: expected a state dict")
    return state


def _fetch_state(name: str) -> dict[str, Tensor]:
    weights = trunk_spec(name).weights()
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        target = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise InputError(
            f"ImageNet weights of '{name}' could not be fetched ({first_line(error)}): download "
            f"{weights.url} on another machine and put it at {target}, or name a file with --trunk-weights"
        ) from error
    return state
