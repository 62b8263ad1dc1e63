"""What VLAD and the Fisher vector learn from local features: centres, or a mixture of Gaussians."""

from __future__ import annotations

import warnings

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from vpr_ros.encoders.fisher_vector import FisherVector
from vpr_ros.encoders.vlad import VLAD
from vpr_ros.errors import InputError
from vpr_ros.netvlad import kmeans

#: Rounds of expectation and maximisation, at most.
ROUNDS = 100
#: Added to each variance of a Gaussian: local features have 1e-4 to 1e-2.
LEAST_VARIANCE = 1e-6

Features = NDArray[np.float32]


def learn_vlad(local: Features, centres: int, seed: int) -> VLAD:
    """Return a VLAD with the k-means centres of (N, D) local features."""
    _check(local, centres)
    vlad = VLAD(centres, local.shape[1])
    vlad.centres.copy_(torch.from_numpy(kmeans(local, centres, seed)))
    return vlad


@torch.no_grad()
def learn_fisher(local: Features, gaussians: int, reduced: int, seed: int) -> FisherVector:
    """Return a Fisher vector with PCA to `reduced` dimensions and a mixture fitted to (N, D) features."""
    _check(local, max(gaussians, reduced))  # PCA to so many dimensions wants as many
    fisher = FisherVector(gaussians, local.shape[1], reduced)
    pca = faiss.PCAMatrix(local.shape[1], reduced)
    pca.max_points_per_d = len(local)  # learn from all of them
    pca.train(local)
    fisher.reduce.weight.copy_(torch.from_numpy(faiss.vector_to_array(pca.A).reshape(reduced, -1)))
    fisher.reduce.bias.copy_(torch.from_numpy(faiss.vector_to_array(pca.b)))
    mixture = _mixture(pca.apply(local), gaussians, seed)
    for ours, theirs in (
        (fisher.weights, mixture.weights_),
        (fisher.means, mixture.means_),
        (fisher.variances, mixture.covariances_),
    ):
        ours.copy_(torch.from_numpy(theirs))
    return fisher


def _mixture(points: Features, gaussians: int, seed: int) -> GaussianMixture:
    """Return a mixture with diagonal covariances, from the k-means centres on."""
    centres = kmeans(points, gaussians, seed)
    _, nearest = faiss.knn(points, centres, 1)
    differences = np.square(points - centres[nearest[:, 0]])
    count = np.bincount(nearest[:, 0], minlength=gaussians)
    sums = np.zeros_like(centres)
    np.add.at(sums, nearest[:, 0], differences)
    variances = sums / np.maximum(count, 1)[:, None] + LEAST_VARIANCE
    mixture = GaussianMixture(
        gaussians,
        covariance_type="diag",
        reg_covar=LEAST_VARIANCE,
        max_iter=ROUNDS,
        init_params="random",  # not used, but the default is a k-means of its own
        weights_init=(count / count.sum()).astype(np.float32),
        means_init=centres,
        precisions_init=1 / variances,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is left to gain is small by then
        return mixture.fit(points)


def _check(local: Features, least: int) -> None:
    if len(local) < least:
        raise InputError(
            f"{len(local)} local features, expected at least {least}: give more images, or fewer --centres"
        )
