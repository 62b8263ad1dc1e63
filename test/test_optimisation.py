"""How weights follow the gradient: the recipe's SGD and its schedule, step by step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from test.error_lines import input_error
from training.learning.optimisation import OPTIMISERS, Optimisation

few = settings(max_examples=40, deadline=None, derandomize=True)


@few
@given(halve_every=st.integers(1, 40), epochs=st.integers(1, 100))
def test_the_rate_halves_when_the_refresh_period_doubles(halve_every, epochs):
    options = Optimisation(halve_every=halve_every, learning_rate=0.001)
    rate, period = 0.001, 1000
    for epoch in range(epochs):
        if epoch > 0 and epoch % halve_every == 0:
            rate, period = rate / 2, period * 2
        assert options.learning_rate * 0.5 ** options.halvings(epoch) == pytest.approx(rate)
        assert 1000 * 2 ** options.halvings(epoch) == period


def follow(options, gradients):
    """Return where a weight of 1 goes."""
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    optimiser = options.build(network)
    for gradient in gradients:
        network.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimiser.step()
    return network.weight.item()


def test_sgd_is_the_recipes():
    weight, velocity = 1.0, 0.0
    gradients = np.random.default_rng(0).normal(size=20).tolist()
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient + 0.001 * weight
        weight -= 0.001 * velocity
    assert follow(Optimisation(), gradients) == pytest.approx(weight, rel=1e-12)


def test_adamw_decays_weights_apart_from_the_gradient():
    """Adam's steps are as long as its rate, whatever the gradient; AdamW's decay is no gradient."""
    options = {"learning_rate": 0.01, "weight_decay": 0.5}
    assert follow(Optimisation("AdamW", **options), [0.0]) == pytest.approx(1 - 0.01 * 0.5)
    assert follow(Optimisation("Adam", **options), [0.0]) == pytest.approx(1 - 0.01)
    for name in ("Adam", "AdamW"):
        options = Optimisation(name, learning_rate=0.01, weight_decay=0.0)
        assert follow(options, [1000.0]) == pytest.approx(0.99)


def test_unknown_name_names_those_there_are():
    with input_error("'sgd'", *OPTIMISERS):
        Optimisation(name="sgd")


@pytest.mark.parametrize(
    "wrong",
    [
        {"halve_every": 0},
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"average": 1.0},
        {"average": -0.1},
    ],
)
def test_options_out_of_range(wrong):
    with input_error("expected", *wrong):
        Optimisation(**wrong)
