"""VLAD and Fisher vector against their definitions, written out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vpr_ros.encoders.fisher_vector import FisherVector
from vpr_ros.encoders.vlad import VLAD

K, D, REDUCED = 5, 12, 4
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None, derandomize=True)


def features(seed, count):
    """Return features of unit length without negative elements, as RootSIFT is."""
    found = np.random.default_rng(seed).gamma(0.6, size=(count, D)).astype(np.float32)
    return torch.from_numpy(found / np.linalg.norm(found, axis=1, keepdims=True))


def a_vlad():
    vlad = VLAD(K, D)
    vlad.centres.copy_(features(99, K))
    return vlad


def a_fisher():
    generator = torch.Generator().manual_seed(3)
    fisher = FisherVector(K, D, REDUCED).requires_grad_(False)
    fisher.reduce.weight.copy_(torch.linalg.qr(torch.randn(D, REDUCED, generator=generator))[0].T)
    fisher.reduce.bias.copy_(torch.randn(REDUCED, generator=generator) / 10)
    fisher.weights.copy_(torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]))
    fisher.means.copy_(torch.randn(K, REDUCED, generator=generator) / 3)
    fisher.variances.copy_(0.02 + torch.rand(K, REDUCED, generator=generator) / 10)
    return fisher


both = pytest.mark.parametrize("make", [a_vlad, a_fisher])


@few
@given(seeds, st.integers(1, 60))
def test_vlad_is_sums_of_residuals(seed, count):
    vlad, local = a_vlad(), features(seed, count)
    centres = vlad.centres.numpy().astype(float)
    expected = np.zeros((K, D))
    for each in local.numpy().astype(float):
        nearest = min(range(K), key=lambda k: ((each - centres[k]) ** 2).sum())
        expected[nearest] += each - centres[nearest]
    for k in range(K):  # each centre's part to unit length, then all
        if expected[k].any():
            expected[k] /= np.linalg.norm(expected[k])
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(vlad(local).numpy(), expected.ravel(), atol=2e-5)


@few
@given(seeds, st.integers(1, 60))
def test_fisher_is_the_gradient_of_the_likelihood(seed, count):
    """By PyTorch's own mixture and differentiation; scaled by the Fisher information of the diagonal."""
    fisher, local = a_fisher(), features(seed, count)
    points = fisher.reduce(local).double()
    means = fisher.means.double().requires_grad_()
    deviations = fisher.variances.double().sqrt().requires_grad_()
    mixture = MixtureSameFamily(
        Categorical(fisher.weights.double()), Independent(Normal(means, deviations), 1)
    )
    by_means, by_deviations = torch.autograd.grad(mixture.log_prob(points).mean(), (means, deviations))
    weights = fisher.weights.double()[:, None]
    scaled = [
        by_means * deviations / weights.sqrt(),
        by_deviations * deviations / (2 * weights).sqrt(),
    ]
    expected = torch.cat(scaled, dim=1).flatten().detach()
    expected = expected.sign() * expected.abs().sqrt()
    expected /= expected.norm()
    np.testing.assert_allclose(fisher(local).numpy(), expected.numpy(), atol=2e-3)


@both
@few
@given(seeds, st.integers(1, 60))
def test_neither_the_order_nor_the_number_of_copies_matters(make, seed, count):
    aggregate, local = make(), features(seed, count)
    described = aggregate(local)
    assert described.shape == (aggregate.dimension,)
    assert described.norm().item() == pytest.approx(1, abs=1e-5)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    np.testing.assert_allclose(aggregate(local[order]), described, atol=2e-3)
    np.testing.assert_allclose(aggregate(local.repeat(3, 1)), described, atol=2e-3)


@both
def test_what_is_not_the_same_is_told_apart(make):
    aggregate = make()
    assert (aggregate(features(1, 40)) @ aggregate(features(2, 40))).item() < 0.9


@both
def test_no_feature_gives_zeros(make):
    aggregate = make()
    assert torch.equal(aggregate(torch.empty(0, D)), torch.zeros(aggregate.dimension))


def test_a_feature_on_its_centre_gives_nothing():
    vlad = a_vlad()
    assert not vlad(vlad.centres[:1]).any()
