"""Closed forms against integration, Monte Carlo, each other and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import (
    correlation_mi_bits,
    correlation_of,
    gaussian_bottleneck,
    gaussian_mi_bits,
    linear_gaussian_mi_bits,
    linear_gaussian_mi_nats,
    table_mi_bits,
)

BIT = math.log(2)


def random_covariance(size: int, seed: int) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


def test_a_pair_of_gaussians_against_integration() -> None:
    rho = 0.8
    grid = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    x, y = torch.meshgrid(grid, grid, indexing="ij")
    log_joint = -(x**2 + y**2 - 2 * rho * x * y) / (2 * (1 - rho**2)) - math.log(
        2 * math.pi * math.sqrt(1 - rho**2)
    )
    log_product = -(x**2 + y**2) / 2 - math.log(2 * math.pi)
    nats = float((log_joint.exp() * (log_joint - log_product)).sum()) * float(grid[1] - grid[0]) ** 2
    assert correlation_mi_bits(torch.tensor(rho, dtype=torch.float64)) == pytest.approx(nats / BIT, abs=1e-9)


def test_correlations_and_their_inverse() -> None:
    for nats, pairs in ((1.0, 1), (2.0, 5), (4.0, 20), (10.0, 1)):
        rho = correlation_of(nats / BIT, pairs)
        bits = correlation_mi_bits(torch.full((pairs,), rho, dtype=torch.float64))
        assert bits == pytest.approx(nats / BIT, rel=1e-6)
    assert correlation_of(0.0) == 0.0


def test_a_general_covariance_against_monte_carlo() -> None:
    s, split = random_covariance(5, seed=0), 2
    joint = torch.distributions.MultivariateNormal(torch.zeros(5).double(), s)
    torch.manual_seed(0)
    draws = joint.sample((200_000,))
    marginals = [
        torch.distributions.MultivariateNormal(torch.zeros(len(part)).double(), part)
        for part in (s[:split, :split], s[split:, split:])
    ]
    ratios = joint.log_prob(draws) - marginals[0].log_prob(draws[:, :split])
    ratios -= marginals[1].log_prob(draws[:, split:])
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert gaussian_mi_bits(s, split) * BIT == pytest.approx(float(ratios.mean()), abs=4 * error)


def test_information_does_not_depend_on_the_coordinates() -> None:
    s, split = random_covariance(6, seed=1), 2
    mixing = torch.block_diag(random_covariance(2, seed=2), random_covariance(4, seed=3))
    assert gaussian_mi_bits(mixing @ s @ mixing.T, split) == pytest.approx(
        gaussian_mi_bits(s, split), rel=1e-9
    )


def test_the_linear_layer_is_the_gaussian_of_input_and_output() -> None:
    w = torch.randn(4, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    s, noise = random_covariance(3, seed=5), random_covariance(4, seed=6)
    cross = w @ s
    joint = torch.cat([torch.cat([s, cross.T], 1), torch.cat([cross, w @ s @ w.T + noise], 1)])
    bits = linear_gaussian_mi_bits(w, s, noise)
    assert bits == pytest.approx(gaussian_mi_bits(joint, 3), rel=1e-9)
    assert linear_gaussian_mi_bits(0 * w, s, noise) == 0.0
    # Hardly any noise: half a bit for each halving of its variance and each of the three directions.
    fine = [linear_gaussian_mi_bits(w, s, 4.0**-k * noise) for k in (20, 21)]
    assert fine[1] - fine[0] == pytest.approx(3.0, abs=1e-6)


def test_the_gradient_of_the_linear_layer() -> None:
    w = torch.randn(2, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64, requires_grad=True)
    s, noise = random_covariance(3, seed=8), random_covariance(2, seed=9)
    assert torch.autograd.gradcheck(lambda weight: linear_gaussian_mi_nats(weight, s, noise), (w,))
    (gradient,) = torch.autograd.grad(linear_gaussian_mi_nats(w, s, noise), w)
    torch.testing.assert_close(gradient, torch.linalg.solve(w @ s @ w.T + noise, w @ s).detach())


def test_tables() -> None:
    assert table_mi_bits(torch.ones(3, 4)) == 0.0
    assert table_mi_bits(torch.eye(8)) == pytest.approx(3.0, abs=1e-12)
    flip = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)  # binary symmetric channel
    noise = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert table_mi_bits(flip) == pytest.approx(1 - noise, abs=1e-12)
    assert table_mi_bits(7 * flip) == pytest.approx(1 - noise, abs=1e-12)


def test_the_bottleneck_curve_against_a_search_over_noisy_linear_maps() -> None:
    s, split, beta = random_covariance(5, seed=10), 3, 0.15
    point = gaussian_bottleneck(s, split, beta)
    sx, cross = s[:split, :split], s[:split, split:]
    given_y = sx - cross @ torch.linalg.solve(s[split:, split:], cross.T)
    eye = torch.eye(split, dtype=torch.float64)

    def quantities(w: Tensor) -> tuple[Tensor, Tensor]:
        """I(X; T) and I(Y; T) of T = W X + noise, nats: h(T | Y) has W S_x|y W^T + 1."""
        rate = linear_gaussian_mi_nats(w, sx, eye)
        return rate, rate - linear_gaussian_mi_nats(w, given_y, eye)

    w = torch.randn(split, split, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    w.requires_grad_()
    optimizer = torch.optim.Adam([w], lr=0.02)
    for _ in range(1500):
        rate, relevance = quantities(w)
        optimizer.zero_grad()
        (beta * rate - relevance).backward()
        optimizer.step()
    found = [float(each.detach()) / BIT for each in quantities(w)]
    assert point.rate_bits > 0.1
    assert found == pytest.approx([point.rate_bits, point.relevance_bits], abs=1e-3)


def test_the_bottleneck_curve_has_slope_beta_and_the_right_ends() -> None:
    s, split = random_covariance(6, seed=12), 3
    a, b = (gaussian_bottleneck(s, split, beta) for beta in (0.2, 0.2001))
    slope = (a.relevance_bits - b.relevance_bits) / (a.rate_bits - b.rate_bits)
    assert slope == pytest.approx(0.2, rel=1e-3)
    assert gaussian_bottleneck(s, split, 1e-9).relevance_bits == pytest.approx(
        gaussian_mi_bits(s, split), rel=1e-6
    )
    assert gaussian_bottleneck(s, split, 1 - 1e-9) == (0.0, 0.0)


def test_what_has_no_answer_is_refused() -> None:
    eye = torch.eye(2)
    with pytest.raises(ValueError, match="infinite"):
        correlation_mi_bits(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="positive definite"):
        linear_gaussian_mi_bits(eye, eye, 0 * eye)
    with pytest.raises(ValueError, match="positive definite"):
        gaussian_mi_bits(torch.ones(2, 2), 1)
    with pytest.raises(ValueError, match="split"):
        gaussian_mi_bits(eye, 2)
    with pytest.raises(ValueError, match="weight"):
        linear_gaussian_mi_bits(torch.ones(3, 2), eye, eye)
    with pytest.raises(ValueError, match="joint table"):
        table_mi_bits(torch.tensor([[0.5, -0.1]]))
    with pytest.raises(ValueError, match="beta"):
        gaussian_bottleneck(eye, 1, 1.0)
    with pytest.raises(ValueError, match="at least"):
        correlation_of(-1.0)
