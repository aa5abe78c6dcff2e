"""The differentiable length of integers: a distribution, and what its gradient says."""

import math

import pytest
import torch

from ibsuite.compression import LogisticMixture


def cell(k: float, scales: list[float], weights: list[float]) -> float:
    """Mass of (k - 1/2, k + 1/2) by integrating the density on a fine grid."""
    x = torch.linspace(k - 0.5, k + 0.5, 200_001, dtype=torch.float64)
    density = sum(
        w * torch.exp(-x.abs() / s) / (s * (1 + torch.exp(-x.abs() / s)) ** 2)
        for w, s in zip(weights, scales, strict=True)
    )
    return float(torch.trapezoid(density, x))


@pytest.mark.parametrize("k", [0.0, 1.0, -1.0, 3.0, 0.3, -2.7])
def test_a_cell_has_the_mass_of_the_density(k: float) -> None:
    mixture = LogisticMixture()
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
        mixture.log_scales.copy_(torch.tensor([0.3, 0.8, 2.5]).log())
        nats = float(mixture(torch.tensor([k])))
    assert nats == pytest.approx(-math.log(cell(k, [0.3, 0.8, 2.5], [0.5, 0.3, 0.2])), rel=1e-5)


def test_the_integers_have_mass_one() -> None:
    k = torch.arange(-400, 401).float()
    assert float((-LogisticMixture()(k)).exp().sum().detach()) == pytest.approx(1.0, abs=1e-5)


def test_far_tails_are_finite_and_have_gradients() -> None:
    mixture, k = LogisticMixture(), torch.tensor([0.0, 50.0, -5000.0], requires_grad=True)
    mixture(k).sum().backward()
    assert k.grad is not None
    assert k.grad.isfinite().all()
    assert k.grad[1] > 0 > k.grad[2]  # shorter towards zero
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixture.parameters())


def test_it_learns_the_entropy_of_the_integers() -> None:
    torch.manual_seed(0)
    k = torch.cat([torch.zeros(800), torch.randn(200).mul(2).round()])
    mixture = LogisticMixture()
    optimizer = torch.optim.Adam(mixture.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        nats = mixture(k).mean()
        nats.backward()
        optimizer.step()
    share = k.unique(return_counts=True)[1] / len(k)
    entropy = float(-(share * share.log()).sum())
    assert entropy <= float(nats.detach()) < entropy + 0.06
