"""A network against the variance of the noise: bounds around the closed form, critics below it."""

import pytest
import torch
from torch import nn

from ibsuite.information import between, critic_estimates, linear_gaussian_mi_bits


def linear_network() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=False), nn.Linear(5, 3, bias=False))
    weight = (network[2].weight @ network[1].weight).detach()
    return network, weight, torch.randn(6000, 2, 3)


@pytest.mark.parametrize("variance", [0.003, 0.03, 0.3])
def test_the_bounds_enclose_the_closed_form(variance: float) -> None:
    network, weight, x = linear_network()
    truth = linear_gaussian_mi_bits(weight, torch.eye(6), variance * torch.eye(3))
    found = between(network, x, variance)
    assert found.lower_bits < truth + 0.02
    assert found.upper_bits > truth - 0.06  # a held-out mean of 1,800 samples
    assert found.upper_bits == pytest.approx(truth, abs=0.1)  # Gaussian: the bound is met
    assert found.lower_bits > 0.5 * truth


def test_holding_the_network_and_knowing_the_noise_each_bring_a_critic_nearer() -> None:
    network, weight, x = linear_network()
    truth = linear_gaussian_mi_bits(weight, torch.eye(6), 0.01 * torch.eye(3))
    found = critic_estimates(network, x, 0.01, critic="separable", batch_size=64, steps=150)
    said = {name: estimate.heldout_bits for name, estimate in found.items()}
    assert said["mine"] < said["aa_mine_closeness"] < 1.05 * truth
    assert said["aa_mine_closeness"] == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("variance", [0.0, -0.1])
def test_no_noise_is_refused(variance: float) -> None:
    network, _, x = linear_network()
    with pytest.raises(ValueError, match=r"variance must be positive.* is infinite"):
        between(network, x, variance)
    with pytest.raises(ValueError, match=r"variance must be positive.* is infinite"):
        critic_estimates(network, x, variance)
    with pytest.raises(ValueError, match="unknown critic"):
        critic_estimates(network, x, 1.0, critic="bilinear")
