"""An encoder in training, cut where its training begins: a frozen part, and the rest with the pooling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from vpr_ros.encoder import Encoder
from vpr_ros.engines.fused import fused
from vpr_ros.trunks import layer_index


class Network(nn.Module):
    """Trains the layers of an encoder from a named one on; what lies below stays as it is.

    The encoder's own modules are trained, in place. The frozen part is a copy, of half precision on a GPU.

    Args:
        encoder: without whitening.
        train_from: the first layer that is trained, as for `layer_index`.
        precision: context in which the trained layers run, such as Fabric's autocast; the pooling is never
            run in less than float32.

    Attributes:
        dimension: D of a descriptor.
        device: of the weights.
        frozen_layers: how many there are.

    Shape:
        - Input: (B, C, H', W'), what `features` returns.
        - Output: (B, D) descriptors of unit length.
    """

    def __init__(
        self,
        encoder: Encoder,
        train_from: str,
        precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__()
        cut = layer_index(encoder.trunk, encoder.architecture.trunk, train_from)
        encoder.train().requires_grad_(False)
        self.trained_trunk = encoder.trunk[cut:].requires_grad_(True)
        self.pooling = encoder.pooling.requires_grad_(True)
        self.dimension = encoder.dimension
        self.frozen_layers = cut
        self.device = encoder.mean.device
        self._half = torch.float16 if self.device.type == "cuda" else torch.float32
        frozen = cast(nn.Sequential, copy.deepcopy(encoder.trunk[:cut]))
        if self.device.type == "cuda":
            frozen = fused(frozen)
        frozen = frozen.to(self._half).eval()
        # not registered: neither trained nor saved with what is
        self._frozen = [frozen.to(memory_format=torch.channels_last)]  # type: ignore[call-overload]
        self._normalise = encoder.normalise
        self._precision = precision

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return what the trained layers take of (B, 3, H, W) RGB images, uint8 or in 0-1."""
        normalised = self._normalise(images).to(self._half)
        output: Tensor = self._frozen[0](normalised.contiguous(memory_format=torch.channels_last))
        return output

    def accept(self, inputs: Tensor) -> Tensor:
        """Return features on the device, of features or of uint8 images."""
        there = inputs.to(self.device, non_blocking=True)
        return there if there.is_floating_point() else self.features(there)

    def local(self, features: Tensor) -> Tensor:
        """Return the (B, D, H, W) map of the trunk."""
        with self._precision():
            local: Tensor = self.trained_trunk(features.to(self._half))
        return local.float()

    def forward(self, features: Tensor) -> Tensor:
        local = self.local(features)
        with torch.autocast(self.device.type, enabled=False):
            descriptors: Tensor = self.pooling(local)
        return descriptors
