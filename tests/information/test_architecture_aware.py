"""AA-MINE: a linear layer with Gaussian input and its closed form; what the critic holds of a network."""

import math

import pytest
import torch
from torch import Tensor, nn

from ibsuite.information import (
    ArchitectureAwareCritic,
    Kind,
    SeparableCritic,
    architecture_aware,
    layer_outputs,
    linear_gaussian_mi_bits,
    noisy_outputs,
    train_critic,
)
from ibsuite.units import nats_to_bits


def linear_layer(nats: float) -> tuple[nn.Linear, Tensor, float]:
    """A layer of random weights, inputs of unit variance, and the noise at which it carries ``nats``."""
    draws = torch.Generator().manual_seed(0)
    layer = nn.Linear(8, 4)
    layer.weight.data = torch.randn(4, 8, generator=draws) / 8**0.5
    layer.bias.data.fill_(0.3)
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        too_much = linear_gaussian_mi_bits(layer.weight, torch.eye(8), middle**2 * torch.eye(4))
        low, high = (middle, high) if too_much > nats_to_bits(nats) else (low, middle)
    return layer, torch.randn(8000, 8, generator=draws), middle


@pytest.mark.parametrize("nats", [1.0, 2.5, 5.0])
def test_a_linear_layer_of_gaussian_input_agrees_with_equation_5(nats: float) -> None:
    layer, x, noise_std = linear_layer(nats)
    trained = architecture_aware(layer, x, noise_std, max_steps=150, batch_size=64, evaluate=1000)
    truth = nats_to_bits(nats)
    assert trained.estimate.heldout_bits == pytest.approx(truth, rel=0.1)
    assert trained.estimate.certified
    assert trained.estimate.field("mi_xl") == "mi_xl_bits"
    lower, error = trained.lower, trained.lower.standard_error_bits or 0.0
    assert lower.kind is Kind.LOWER
    assert 0.85 * truth < lower.heldout_bits < truth + 3 * error


def test_a_critic_that_does_not_hold_the_layer_sees_less() -> None:
    """The same critic, bound and steps on (x, t): 5 nats hide from it."""
    layer, x, noise_std = linear_layer(5.0)
    t = noisy_outputs(layer_outputs(layer, x), noise_std, seed=0)
    torch.manual_seed(0)
    blind = train_critic(x, t, "mine", SeparableCritic(8, 4), 0, 64, 3e-3, 150)
    assert blind.estimate.heldout_bits < 0.7 * nats_to_bits(5.0)


def test_without_closeness_the_critic_is_the_papers() -> None:
    layer, x, noise_std = linear_layer(1.0)
    trained = architecture_aware(
        layer, x, noise_std, max_steps=150, batch_size=64, evaluate=1000, closeness=False
    )
    assert 0.5 < trained.estimate.heldout_bits / nats_to_bits(1.0) < 1.1
    assert trained.critic.log_factor is None


def test_scores_are_those_of_the_inner_critic_on_what_the_layers_give() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten())
    x = torch.randn(5, 1, 4, 4)
    centres = layer_outputs(layers, x)
    t = noisy_outputs(centres, 0.5, seed=1)
    inner = SeparableCritic(8, 8)
    critic = ArchitectureAwareCritic(layers, centres, 0.5, inner)
    scale = (centres.var(0) + 0.25).sqrt()
    a, b = ((each - centres.mean(0)) / scale for each in (centres, t))
    wanted = inner(a, b) - 0.5 * (centres[:, None] - t).square().sum(2) / 0.25
    torch.testing.assert_close(critic(x, t), wanted)


def test_the_layers_are_a_frozen_copy_in_evaluation_mode() -> None:
    layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    random = torch.random.get_rng_state()
    trained = architecture_aware(layers, x, 0.5, max_steps=5)
    assert all(torch.equal(value, before[name]) for name, value in layers.state_dict().items())
    assert all(torch.equal(v, before[n]) for n, v in trained.critic.layers.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(module.training for module in layers.modules())
    assert not any(p.requires_grad for p in trained.critic.layers.parameters())
    assert all(p.requires_grad for p in layers.parameters())
    trained.critic.train()
    assert trained.critic.inner.training
    assert not any(module.training for module in trained.critic.layers.modules())
    with torch.no_grad():
        layers[0].weight.zero_()
    assert float(trained.critic.layers[0].weight.abs().sum()) > 0


@pytest.mark.parametrize("noise_std", [0.0, -1.0, math.nan])
def test_no_noise_is_refused_because_the_information_is_infinite(noise_std: float) -> None:
    with pytest.raises(ValueError, match=r"noise must be positive.* is infinite"):
        architecture_aware(nn.Linear(2, 2), torch.randn(50, 2), noise_std)
    with pytest.raises(ValueError, match="is infinite"):
        noisy_outputs(torch.zeros(5, 2), noise_std, seed=0)


def test_an_unknown_critic_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown critic 'bilinear'"):
        architecture_aware(nn.Linear(2, 2), torch.randn(50, 2), 0.1, critic="bilinear")
