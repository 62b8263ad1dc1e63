"""The encoder that training starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vpr_ros.encoder import POOLINGS, Architecture, Encoder, load_encoder
from vpr_ros.errors import InputError
from vpr_ros.netvlad import NetVLAD
from vpr_ros.trunks import load_imagenet_weights, trunk_spec

ASSIGNMENTS = ("free", "tied")
INITIALISATIONS = ("v1", "v2")


@dataclass(frozen=True)
class Model:
    """What is trained.

    Args:
        weights: Start from this weights file (its whitening is dropped); then trunk, trunk_weights, pooling,
            clusters and initialisation are not used.
        trunk: alexnet, vgg16, resnet18 or resnet50 (both up to conv4).
        trunk_weights: torchvision's ImageNet weights in a file; downloaded where not given.
        pooling: netvlad, max or gem.
        clusters: K of NetVLAD.
        initialisation: Of NetVLAD by k-means: v1, the authors' code, or v2, the paper's equations.
        assignment: free, w, b and c of NetVLAD are trained independently; tied, w and b follow c (needs v2).
        input_size: Pixels of the shorter side that images are resized to.
        train_from: First layer that is trained: conv1_1 to conv5_3 (vgg16), conv1 to conv5 (alexnet),
            conv1 to a block of conv4 (resnet), or pooling; without it conv5_1, conv2, conv4_1.
    """

    weights: Path | None = None
    trunk: str = "vgg16"
    trunk_weights: Path | None = None
    pooling: str = "netvlad"
    clusters: int = 64
    initialisation: str = "v1"
    assignment: str = "free"
    input_size: int = 480
    train_from: str | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("pooling", POOLINGS),
            ("initialisation", INITIALISATIONS),
            ("assignment", ASSIGNMENTS),
        ):
            if (value := getattr(self, name)) not in known:
                raise InputError(f"unknown {name} '{value}': expected one of {', '.join(known)}")
        if self.assignment == "tied" and (self.initialisation, self.pooling) != ("v2", "netvlad"):
            raise InputError("tied assignment: expected pooling netvlad and initialisation v2")
        if not (64 <= self.input_size <= 4096 and 2 <= self.clusters <= 4096):
            raise InputError(
                f"input_size {self.input_size} and clusters {self.clusters}: expected 64 to 4096 pixels and "
                "2 to 4096 clusters"
            )

    def build(self) -> Encoder:
        """Return the encoder, without whitening; a NetVLAD without given weights is yet to be initialised."""
        if self.weights is not None:
            given = load_encoder(self.weights)
            if self.assignment == "tied" and given.architecture.pooling != "netvlad":
                raise InputError(
                    f"{self.weights}: pooling {given.architecture.pooling}: a tied assignment is netvlad's"
                )
            encoder = Encoder(replace(given.architecture, dimension=0, input_size=self.input_size))
            encoder.load_state_dict(given.state_dict(), strict=False)
            return encoder
        clusters = self.clusters if self.pooling == "netvlad" else 0
        encoder = Encoder(
            Architecture(self.trunk, self.pooling, clusters, dimension=0, input_size=self.input_size)
        )
        load_imagenet_weights(encoder.trunk, self.trunk, self.trunk_weights)
        return encoder

    def first_trained(self, encoder: Encoder) -> str:
        """Return the name of the first layer that is trained."""
        layer = self.train_from or trunk_spec(encoder.architecture.trunk).train_from
        if layer == "pooling" and encoder.architecture.pooling == "max":
            raise InputError(
                "max pooling has nothing to train: expected --model.train-from with a trunk's layer"
            )
        return layer


class TiedNetVLAD(nn.Module):
    """NetVLAD whose assignment follows its centres: w = 2 alpha c, b = -alpha |c|^2, equation 3.

    It is there to measure what three independent parameters bring. The NetVLAD that it is made of,
    initialised by v2, is kept up to date.

    Shape:
        - Input: (B, D, H, W).
        - Output: (B, K * D).
    """

    alpha: Tensor

    def __init__(self, pooling: NetVLAD) -> None:
        super().__init__()
        self._netvlad = [pooling]  # not registered: its weight and bias are no parameters of this
        self.centres = pooling.centres
        alpha = (pooling.weight * pooling.centres).sum() / (2 * pooling.centres.square().sum())
        self.register_buffer("alpha", alpha.detach())

    def forward(self, features: Tensor) -> Tensor:
        weight = 2 * self.alpha * self.centres
        bias = -self.alpha * self.centres.square().sum(dim=1)
        pooling = self._netvlad[0]
        with torch.no_grad():
            pooling.weight.copy_(weight)
            pooling.bias.copy_(bias)
        return cast(Tensor, functional_call(pooling, {"weight": weight, "bias": bias}, (features,)))
