"""Centres and Gaussians are found where the features are."""

import numpy as np
import pytest
import torch

from test.error_lines import input_error
from training.learning.codebook import learn_fisher, learn_vlad

TRUE = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0.5, 0, 0]], np.float32)
SHARES = (0.5, 0.3, 0.2)


def features(count=3000, seed=0):
    """Return features about three points, and which; along the first axis they spread wider."""
    random = np.random.default_rng(seed)
    which = random.choice(3, count, p=SHARES)
    spread = random.normal(size=(count, 6)) * [0.1, 0.05, 0.05, 0.05, 0.02, 0.02]
    return (TRUE[which] + spread).astype(np.float32), which


def of_each(means):
    """Return for each of the points which of the means lie about it; each mean lies about one."""
    near = np.linalg.norm(TRUE[:, None] - means, axis=2) < 0.4
    assert (near.sum(axis=0) == 1).all()
    assert near.any(axis=1).all()
    return near


def test_centres_are_where_features_are():
    vlad = learn_vlad(features()[0], 12, seed=0)
    of_each(vlad.centres.numpy())


def test_gaussians_together_are_what_there_is():
    """Share, mean and variance of the Gaussians about a point are those of the features about it."""
    local, which = features()
    fisher = learn_fisher(local, 12, 6, seed=0).requires_grad_(False)
    axes, shift = fisher.reduce.weight.numpy(), fisher.reduce.bias.numpy()
    weights, means, variances = (each.numpy() for each in (fisher.weights, fisher.means, fisher.variances))
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    for part, near in enumerate(of_each((means - shift) @ axes)):
        its = local[which == part] @ axes.T + shift
        share = weights[near].sum()
        assert share == pytest.approx(len(its) / len(local), abs=0.01)
        parts = weights[near, None] / share
        mean = (parts * means[near]).sum(axis=0)
        np.testing.assert_allclose(mean, its.mean(axis=0), atol=0.01)
        variance = (parts * (variances[near] + np.square(means[near] - mean))).sum(axis=0)
        np.testing.assert_allclose(variance, its.var(axis=0), rtol=0.05, atol=1e-4)


def test_the_reduction_keeps_most_of_what_varies():
    local, _ = features()
    fisher = learn_fisher(local, 3, 3, seed=0).requires_grad_(False)
    axes = fisher.reduce.weight.numpy()
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-4)
    kept = fisher.reduce(torch.from_numpy(local)).numpy()
    np.testing.assert_allclose(kept.mean(0), 0, atol=1e-3)
    variances = np.linalg.eigvalsh(np.cov(local.T.astype(float)))
    np.testing.assert_allclose(np.sort(kept.var(0)), variances[-3:], rtol=0.02)


def test_the_same_seed_gives_the_same():
    local, _ = features(300)
    for learn in (lambda: learn_vlad(local, 4, 1), lambda: learn_fisher(local, 4, 3, 1)):
        one, two = learn().state_dict(), learn().state_dict()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_too_few_features():
    local, _ = features(5)
    with input_error("5 local features", "at least 6", "give more images"):
        learn_vlad(local, 6, 0)
    with input_error("5 local features", "at least 6", "give more images"):
        learn_fisher(local, 6, 3, 0)
    with input_error("5 local features", "at least 6"):
        learn_fisher(local, 2, 6, 0)
