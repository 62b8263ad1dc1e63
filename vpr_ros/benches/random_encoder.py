"""The encoder that benches time where no weights are named."""

from __future__ import annotations

from torch import nn

from vpr_ros.encoder import Architecture, Encoder


def random_encoder(trunk: str, dimension: int) -> Encoder:
    """Return a NetVLAD of random weights, which takes as long as any other."""
    encoder = Encoder(Architecture(trunk, dimension=dimension)).eval().requires_grad_(False)
    for layer in encoder.trunk:
        if isinstance(layer, nn.Conv2d):  # so that what comes out is neither zero nor infinite
            nn.init.kaiming_normal_(layer.weight)
    if encoder.whitening is not None:
        nn.init.normal_(encoder.whitening.weight, std=encoder.whitening.weight.shape[1] ** -0.5)
        nn.init.zeros_(encoder.whitening.bias)
    return encoder
