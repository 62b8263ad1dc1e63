"""How weights follow the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from vpr_ros.errors import InputError

OPTIMISERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


@dataclass(frozen=True)
class Optimisation:
    """How weights follow the gradient.

    Args:
        name: SGD, Adam or AdamW.
        learning_rate: At the start.
        momentum: Of SGD.
        weight_decay: Of all weights.
        halve_every: Epochs after which the learning rate halves, again and again.
        epochs: At most; one epoch is every query once.
        batch: Tuples in a step, over all devices.
        margin: Squared distance by which a negative should be farther than the positive.
        average: Decay, each step, of a running mean of the weights, which is then what is validated and kept;
            0 for the weights themselves.
    """

    name: str = "SGD"
    learning_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.001
    halve_every: int = 5
    epochs: int = 30
    batch: int = 4
    margin: float = 0.1
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            raise InputError(f"unknown optimiser '{self.name}': expected one of {', '.join(OPTIMISERS)}")
        if min(self.halve_every, self.epochs, self.batch) < 1:
            raise InputError("optimisation: expected halve_every, epochs and batch of at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"optimisation: learning_rate {self.learning_rate:g}: expected a positive number"
            )
        for name, most in (("momentum", 1.0), ("weight_decay", math.inf), ("margin", 4.0), ("average", 1.0)):
            if not 0 <= (value := getattr(self, name)) < most:
                raise InputError(f"optimisation: {name} {value:g}: expected 0 to less than {most:g}")

    def halvings(self, epoch: int) -> int:
        """Return how often the learning rate has halved by an epoch, from 0."""
        return epoch // self.halve_every

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the weights that are trained."""
        momentum = {"momentum": self.momentum} if self.name == "SGD" else {}
        optimiser: torch.optim.Optimizer = OPTIMISERS[self.name](
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, **momentum
        )
        return optimiser
