"""What an encoder learns from images before and after training: cluster centres and whitening."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.encoder import Encoder
from vpr_ros.errors import InputError
from vpr_ros.netvlad import Whitening

logger = logging.getLogger(__name__)

#: Local descriptors for k-means: this many from each image, and no more in all (the authors' 50 000).
PER_IMAGE, IN_ALL = 100, 50_000
#: Images that the whitening is fitted to, at most (the authors' 10 000).
WHITENING_IMAGES = 10_000


@dataclass(frozen=True)
class Whiten:
    """The whitening that is fitted to training images at the end.

    Args:
        dimension: P of the descriptors, at most one less than there are training images; 0 for no whitening.
        shrinkage: Added to each variance, in units of their mean; 0 is the paper's. Without it P divided by
            the number of images: the fewer there are, the less is known of the smaller variances.
    """

    dimension: int = 4096
    shrinkage: float | None = None

    def __post_init__(self) -> None:
        if self.dimension < 0 or not 0 <= (self.shrinkage or 0.0) < math.inf:
            raise InputError(
                f"whiten: dimension {self.dimension}, shrinkage {self.shrinkage}: expected at least 0"
            )


def sample_rows(count: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return at most that many of the row numbers at random, rising."""
    return np.sort(rng.permutation(count)[:most])


def sample_local(maps: Iterable[Tensor], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (N, D) local descriptors of unit length: some of each (B, D, H, W) map of the trunk."""
    gathered = []
    for batch in maps:
        for local in F.normalize(batch.flatten(2), dim=1).transpose(1, 2).cpu().numpy():
            gathered.append(local[rng.permutation(len(local))[:PER_IMAGE]])  # noqa: PERF401
    return np.concatenate(gathered)


def fit_whitening(descriptors: NDArray[np.float32], whiten: Whiten) -> Whitening:
    """Return a whitening fitted to (N, D) descriptors of training images.

    Fewer images than dimensions give fewer dimensions, and a warning.
    """
    dimension, shrinkage = whiten.dimension, whiten.shrinkage
    most = min(len(descriptors) - 1, descriptors.shape[1])
    if dimension > most:
        logger.warning(
            "whitening to %d dimensions instead of %d: %d training images with descriptors of length %d "
            "allow no more",
            *(most, dimension, *descriptors.shape),
        )
        dimension = most
    whitening = Whitening(descriptors.shape[1], dimension)
    whitening.fit(descriptors, dimension / len(descriptors) if shrinkage is None else shrinkage)
    return whitening


def with_whitening(encoder: Encoder, descriptors: NDArray[np.float32], whiten: Whiten) -> Encoder:
    """Return the encoder with a whitening fitted to its (N, D) descriptors, as `fit_whitening` does."""
    whitening = fit_whitening(descriptors, whiten)
    whitened = Encoder(replace(encoder.architecture, dimension=len(whitening.bias)))
    whitened.load_state_dict(encoder.state_dict(), strict=False)
    whitened.whitening = whitening
    return whitened.eval()
