"""The improved Fisher vector (Perronnin et al., ECCV 2010) of reduced features (Jegou et al., TPAMI 2012)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FisherVector(nn.Module):
    """Gradient of the likelihood of local features under a mixture of K Gaussians, by means and deviations.

    The features are reduced by PCA to d dimensions first: the covariances are diagonal. The gradient is
    scaled by the Fisher information, then each element to its signed square root, then all to unit length.

    Shape:
        - Input: (N, D), any N.
        - Output: (2 * K * d,), of unit length; zeros where there is no feature. Element k * 2 * d + j belongs
          to component k, the first d of it to its mean, the others to its deviations.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(self, components: int, depth: int, reduced: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(depth, reduced)
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, reduced))
        self.register_buffer("variances", torch.ones(components, reduced))
        self.dimension = 2 * components * reduced

    def forward(self, local: Tensor) -> Tensor:
        reduced = self.reduce(local)
        squared = reduced.square()
        posterior = self._log_joint(reduced, squared).softmax(dim=1).T  # K N
        # sums over the features as products: the K x N x d differences never exist
        mass = posterior.sum(dim=1)[:, None]
        first = posterior @ reduced - mass * self.means
        second = posterior @ squared - 2 * self.means * (posterior @ reduced)
        second += mass * (self.means.square() - self.variances)
        by_means = first / self.variances.sqrt()
        by_deviations = second / self.variances / math.sqrt(2)
        # no division by N: the length becomes one
        gradient = torch.cat([by_means, by_deviations], dim=1) / self.weights.sqrt()[:, None]
        return F.normalize((gradient.sign() * gradient.abs().sqrt()).flatten(), dim=0)

    def _log_joint(self, reduced: Tensor, squared: Tensor) -> Tensor:
        """Return (N, K) logarithms of weight times density, less a constant."""
        precisions = 1 / self.variances
        scaled = self.means * precisions
        constant = self.weights.log() - 0.5 * (self.variances.log() + self.means * scaled).sum(dim=1)
        joint: Tensor = constant + reduced @ scaled.T - 0.5 * squared @ precisions.T
        return joint
