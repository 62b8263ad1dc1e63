"""The weakly supervised triplet ranking loss (section 4, equation 7)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def ranking_loss(
    queries: Tensor, positives: Tensor, negatives: Tensor, owners: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Return the sum of max(0, d^2(q, p) + margin - d^2(q, n)) over the triplets, and each one's share of it.

    The authors divide the gradient by the number of triplets that violate, those whose share is not zero.

    Shape:
        - queries, positives: (T, D), the query and the best positive of each tuple.
        - negatives: (M, D), those of all tuples.
        - owners: (M,) the tuple that each negative belongs to.
        - Output: (), (M,).
    """
    to_positive = (queries - positives).square().sum(dim=1)
    to_negative = (queries[owners] - negatives).square().sum(dim=1)
    shares = F.relu(to_positive[owners] + margin - to_negative)
    return shares.sum(), shares
