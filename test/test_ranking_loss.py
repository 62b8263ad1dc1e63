"""The loss against equation 7 in float64, one triplet at a time, and its gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from test.sharing import unit_descriptors
from training.learning.loss import ranking_loss

few = settings(max_examples=40, deadline=None, derandomize=True)
MARGIN = 0.1


def triplets(seed, tuples, negatives):
    """Return queries, positives, negatives and owners, about half of which violate."""
    queries = unit_descriptors(tuples, 5, seed).double()
    positives = torch.nn.functional.normalize(queries + unit_descriptors(tuples, 5, seed + 1), dim=1)
    owners = torch.from_numpy(np.random.default_rng(seed).integers(0, max(1, tuples), negatives))
    others = torch.nn.functional.normalize(0.8 * queries[owners] + unit_descriptors(negatives, 5, seed + 2))
    return [tensor.requires_grad_() for tensor in (queries, positives, others)], owners


@few
@given(seed=st.integers(0, 999), tuples=st.integers(1, 4), negatives=st.integers(0, 12))
def test_each_share_is_the_hinge_of_squared_distances(seed, tuples, negatives):
    (queries, positives, others), owners = triplets(seed, tuples, negatives)
    loss, shares = ranking_loss(queries, positives, others, owners, MARGIN)
    expected = []
    for owner, negative in zip(owners.tolist(), others.tolist(), strict=True):
        query, positive = queries[owner].tolist(), positives[owner].tolist()
        expected.append(max(0.0, math.dist(query, positive) ** 2 + MARGIN - math.dist(query, negative) ** 2))
    np.testing.assert_allclose(shares.tolist(), expected, atol=1e-12)
    assert loss.item() == pytest.approx(sum(expected), abs=1e-12)
    loss.backward()  # of a batch without negatives too


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_value(seed):
    tensors, owners = triplets(seed, 3, 8)
    _, shares = ranking_loss(*tensors, owners, MARGIN)
    assert 0 < (shares > 0).sum() < 8  # both kinds, and none at the kink
    assert torch.autograd.gradcheck(lambda *each: ranking_loss(*each, owners, MARGIN)[0], tensors)


def test_what_does_not_violate_has_no_part_in_the_gradient():
    (queries, positives, others), owners = triplets(4, 3, 9)
    loss, shares = ranking_loss(queries, positives, others, owners, MARGIN)
    loss.backward()
    violating = shares > 0
    assert 0 < violating.sum() < 9
    assert ((others.grad.abs().sum(1) > 0) == violating).all()
    # the rest gives the same gradient without them
    kept = [tensor.detach().requires_grad_() for tensor in (queries, positives, others[violating])]
    ranking_loss(*kept, owners[violating], MARGIN)[0].backward()
    for tensor, alone in zip((queries, positives), kept, strict=False):
        torch.testing.assert_close(tensor.grad, alone.grad)


@pytest.mark.parametrize(("distance", "violates"), [(0.9, True), (1.048, True), (1.049, False), (1.3, False)])
def test_the_margin_is_one_of_squared_distances(distance, violates):
    """At d(q, p) = 1 a negative violates up to sqrt(1.1) = 1.0488; ports with unsquared ones say 1.316."""

    def at(chord):  # a descriptor of unit length at that distance from the query
        angle = 2 * math.asin(chord / 2)
        return torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)

    _, shares = ranking_loss(at(0.0), at(1.0), at(distance), torch.tensor([0]), MARGIN)
    assert bool(shares[0] > 0) == violates
