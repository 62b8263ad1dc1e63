"""VLAD (Jegou et al., CVPR 2010) with intra-normalisation (Arandjelovic & Zisserman, CVPR 2013)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VLAD(nn.Module):
    """Sums of the differences of local features from the nearest of K centres.

    Shape:
        - Input: (N, D), any N.
        - Output: (K * D,), of unit length; zeros where there is no feature.
    """

    centres: Tensor

    def __init__(self, clusters: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, depth))
        self.dimension = clusters * depth

    def forward(self, local: Tensor) -> Tensor:
        # the nearest has the largest x.c - |c|^2 / 2
        nearest = (local @ self.centres.T - self.centres.square().sum(dim=1) / 2).argmax(dim=1)
        count = torch.bincount(nearest, minlength=len(self.centres))
        sums = torch.zeros_like(self.centres).index_add_(0, nearest, local)
        residuals = sums - count[:, None] * self.centres
        return F.normalize(F.normalize(residuals, dim=1).flatten(), dim=0)
