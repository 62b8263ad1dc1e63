"""NetVLAD, max pooling and whitening (Arandjelovic et al., CVPR 2016), and how they are initialised.

Descriptors are flattened cluster by cluster: element k * D + d belongs to cluster k, channel d.
"""

from __future__ import annotations

import math

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vpr_ros.errors import InputError

#: The ratio of the second largest soft-assignment to the largest, on average, right after initialisation.
SECOND_TO_FIRST = 0.01
#: Of k-means.
ITERATIONS = 100


class NetVLAD(nn.Module):
    """Soft-assigned, learnable VLAD; section 3.1, equation 4.

    w, b and c are three independent parameters, which is what lets training move the anchors freely.

    Shape:
        - Input: (B, D, H, W), any H and W.
        - Output: (B, K * D), of unit length.
    """

    def __init__(self, depth: int, clusters: int = 64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(clusters, depth) / math.sqrt(depth))
        self.bias = nn.Parameter(torch.zeros(clusters))
        self.centres = nn.Parameter(torch.randn(clusters, depth) / math.sqrt(depth))

    def forward(self, features: Tensor) -> Tensor:
        local = features.flatten(2).transpose(1, 2)  # B N D, as channels-last has it
        # Each x_i is divided by its length where it is multiplied, in the assignment: the local descriptors
        # are many times its size, and would be written and read again.
        inverse = 1 / local.norm(dim=2, keepdim=True).clamp(min=1e-12)  # B N 1
        assignment = (local @ self.weight.T * inverse + self.bias).softmax(dim=2)  # B N K
        # sum_i a_ik (x_i - c_k) as two products: the B x K x D x N residuals never exist.
        sums = (assignment * inverse).transpose(1, 2) @ local
        residuals = sums - assignment.sum(1)[..., None] * self.centres
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)

    @torch.no_grad()
    def initialise(self, local: NDArray[np.float32], version: str = "v1", seed: int = 0) -> None:
        """Set centres by k-means and the assignment by `assignment_v1` or `assignment_v2`.

        Args:
            local: (N, D) local descriptors of unit length, N >= K; the paper takes 50 000.
            version: "v1", the authors' code, or "v2", the paper's equations.
            seed: of k-means.
        """
        clusters = self.centres.shape[0]
        if len(local) < clusters:
            raise InputError(f"{len(local)} local descriptors for {clusters} clusters: give more images")
        centres = kmeans(local, clusters, seed)
        assignment = {"v1": assignment_v1, "v2": assignment_v2}[version]
        weight, bias = assignment(centres, local)
        self.centres.copy_(torch.from_numpy(centres))
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))


class MaxPooling(nn.Module):
    """The largest value of each channel: the paper's baseline f_max.

    Shape:
        - Input: (B, D, H, W), any H and W.
        - Output: (B, D), of unit length.
    """

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features.amax(dim=(2, 3)), dim=1)


class GeM(nn.Module):
    """The generalised mean of each channel, between the mean (p = 1) and the maximum; p is learned.

    Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018, equation 3.

    Shape:
        - Input: (B, D, H, W), any H and W; values below 1e-6 count as that.
        - Output: (B, D), of unit length.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, features: Tensor) -> Tensor:
        mean = features.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3))
        return F.normalize(mean.pow(1 / self.p), dim=1)


class Whitening(nn.Module):
    """PCA-whitening to P dimensions; without shrinkage the first p < P rows are the whitening to p.

    Shape:
        - Input: (B, D).
        - Output: (B, P), of unit length.
    """

    def __init__(self, depth: int, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dimension, depth))
        self.bias = nn.Parameter(torch.empty(dimension))

    def forward(self, descriptors: Tensor) -> Tensor:
        return F.normalize(F.linear(descriptors, self.weight, self.bias), dim=1)

    @torch.no_grad()
    def fit(self, descriptors: NDArray[np.float32], shrinkage: float = 0.0) -> None:
        """Learn from the (N, D) descriptors of training database images, N > P; the paper takes 10 000.

        Args:
            descriptors: of unit length.
            shrinkage: added to each variance, in units of the mean of the P variances. The paper adds none;
                but from a few hundred images the smallest variances are noise, which dividing by them blows
                up, and a few times the mean gives back the recall that this costs.
        """
        count, depth = descriptors.shape
        dimension = self.weight.shape[0]
        if dimension > min(count - 1, depth):
            raise InputError(
                f"whitening to {dimension} dimensions needs more than {dimension} images "
                f"and as long a descriptor; got {count} of length {depth}: give more images or a smaller P"
            )
        pca = faiss.PCAMatrix(depth, dimension, -0.5)
        pca.max_points_per_d = count  # learn from all of them
        pca.train(np.ascontiguousarray(descriptors, np.float32))
        # of repeated images some are zero, which float32 may put a little below
        eigenvalues = np.maximum(faiss.vector_to_array(pca.eigenvalues), 0)
        faiss.copy_array_to_vector(eigenvalues, pca.eigenvalues)
        # FAISS keeps eigenvalues summed over, not averaged over, the descriptors
        pca.epsilon = 1e-9 * count + shrinkage * float(eigenvalues[:dimension].mean())
        pca.prepare_Ab()
        weight = faiss.vector_to_array(pca.A).reshape(dimension, depth) * math.sqrt(count)
        bias = faiss.vector_to_array(pca.b) * math.sqrt(count)
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))


def kmeans(points: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.float32]:
    """Return (clusters, D) centres of the (N, D) points."""
    result = faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),  # learn from all of them
    )
    result.train(np.ascontiguousarray(points, np.float32))
    return np.asarray(result.centroids, np.float32)


def assignment_v1(
    centres: NDArray[np.float32], local: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Assign by cosine, as in the authors' code: w_k = alpha c_k / |c_k|, b_k = 0.

    Returns:
        weight (K, D) and bias (K).
    """
    directions = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    first, second = _two_largest(local @ directions.T)
    alpha = -math.log(SECOND_TO_FIRST) / float(np.mean(first - second))
    return alpha * directions, np.zeros(len(centres), np.float32)


def assignment_v2(
    centres: NDArray[np.float32], local: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Assign by squared distance, equation 3 of the paper: w_k = 2 alpha c_k, b_k = -alpha |c_k|^2.

    Returns:
        weight (K, D) and bias (K).
    """
    norms = (centres**2).sum(axis=1)
    # -d^2 + |x|^2, whose differences are those of -d^2
    first, second = _two_largest(2 * local @ centres.T - norms)
    alpha = -math.log(SECOND_TO_FIRST) / float(np.mean(first - second))
    return 2 * alpha * centres, -alpha * norms


def _two_largest(scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    ordered = np.partition(scores, -2, axis=1)
    return ordered[:, -1], ordered[:, -2]
