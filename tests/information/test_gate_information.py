"""Bits through a Gaussian gate against Monte Carlo and against integrated mixtures."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import (
    GateInformation,
    best_marginal_variance,
    gate_information_upper_bits,
    gate_kl_bits,
)


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def normal_log_density(h: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return -0.5 * ((h - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def true_information_bits(values: list[float], shares: list[float], mu: float, sigma: float) -> float:
    """I(h; f) of discrete f: H of the switch f = 0 or not, and the rest integrated on a fine grid."""
    p = sum(share for value, share in zip(values, shares, strict=True) if value)
    bits = -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)
    there = [(value, share / p) for value, share in zip(values, shares, strict=True) if value]
    widest = max(abs(value) for value, _ in there) * (abs(mu) + 12 * sigma)
    # Fine near zero, where the narrowest component is, and wide enough for the widest.
    h = torch.linspace(-1, 1, 200_001, dtype=torch.float64).pow(3) * widest
    logs = torch.stack([normal_log_density(h, one(v * mu), one(abs(v) * sigma)) for v, _ in there])
    weights = column([share for _, share in there])
    mixture = torch.logsumexp(logs + weights.log(), 0)
    nats = (weights * logs.exp() * (logs - mixture)).sum(0)
    return bits + p * float(torch.trapezoid(nats, h)) / math.log(2)


@pytest.mark.parametrize(("mu", "sigma"), [(1.3, 0.4), (-0.2, 0.7), (0.0, 1.0)])
def test_kl_against_monte_carlo(mu: float, sigma: float) -> None:
    draws = torch.Generator().manual_seed(0)
    f = column([0.3, 1.0, 1.0, 2.5, -4.0])
    eps = torch.randn(5, 100_000, generator=draws, dtype=torch.float64)
    h = f * (mu + eps * sigma)
    xi = best_marginal_variance(f, one(mu), one(sigma))

    def monte_carlo_bits(variance: Tensor) -> float:
        log_q = normal_log_density(h, one(0.0), variance.sqrt())
        return float((normal_log_density(h, f * mu, f.abs() * sigma) - log_q).mean()) / math.log(2)

    bits = float(gate_kl_bits(f, one(mu), one(sigma)))
    assert bits == pytest.approx(monte_carlo_bits(xi), abs=0.01)
    assert min(monte_carlo_bits(0.9 * xi), monte_carlo_bits(1.1 * xi)) > monte_carlo_bits(xi)
    without_psi = 0.5 * math.log2(1 + mu**2 / sigma**2)
    assert abs(without_psi - monte_carlo_bits(xi)) > 0.2


def test_psi_is_missed_only_where_all_sizes_are_alike() -> None:
    bits = gate_kl_bits(torch.tensor([[2.0, 1.0], [-2.0, 3.0]]), torch.ones(2), torch.full((2,), 0.5))
    assert float(bits[0]) == pytest.approx(0.5 * math.log2(5), abs=1e-12)
    psi = math.log(5) - math.log(9) / 2
    assert float(bits[1]) == pytest.approx(0.5 * math.log2(5) + psi / 2 / math.log(2), abs=1e-12)


def test_kl_is_the_bound_where_nothing_is_zero() -> None:
    f = torch.randn(500, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mu, sigma = torch.tensor([1.0, 0.0, -2.0, 0.3]), torch.tensor([0.1, 1.0, 0.5, 3.0])
    torch.testing.assert_close(gate_information_upper_bits(f, mu, sigma).per_unit, gate_kl_bits(f, mu, sigma))


CASES = [
    ([1.0, -1.0], [0.5, 0.5]),
    ([1.0, 2.0], [0.5, 0.5]),
    ([0.0, 1.0], [0.6, 0.4]),
    ([0.0, 1.0, 3.0], [0.5, 0.3, 0.2]),
    ([-0.5, 1.0, 8.0], [0.2, 0.3, 0.5]),
]


@pytest.mark.parametrize(("values", "shares"), CASES)
@pytest.mark.parametrize(("mu", "sigma"), [(1.0, 0.1), (1.0, 1.0), (-0.3, 1.0), (0.0, 1.0)])
def test_the_bound_is_above_the_integrated_truth(
    values: list[float], shares: list[float], mu: float, sigma: float
) -> None:
    f = column([value for value, share in zip(values, shares, strict=True) for _ in range(round(10 * share))])
    truth = true_information_bits(values, shares, mu, sigma)
    assert truth <= gate_information_upper_bits(f, one(mu), one(sigma)).total + 1e-9


def test_the_bound_is_close_where_the_marginal_is_nearly_right() -> None:
    """A weak signal of both signs leaves h nearly Gaussian; so do zeros and a weak gate."""
    signs = gate_information_upper_bits(column([1.0, -1.0]), one(0.5), one(1.0)).total
    truth = true_information_bits([1.0, -1.0], [0.5, 0.5], 0.5, 1.0)
    assert truth == pytest.approx(signs, rel=0.05)
    f = column([0.0] * 6 + [1.0] * 2 + [-1.0] * 2)
    zeros = gate_information_upper_bits(f, one(0.5), one(1.0)).total
    truth = true_information_bits([0.0, 1.0, -1.0], [0.6, 0.2, 0.2], 0.5, 1.0)
    assert truth == pytest.approx(zeros, rel=0.01)


def test_the_rate_that_is_trained_is_no_bound() -> None:
    """Planted violation: 1/2 log2(1 + mu^2 / sigma^2) alone is below the truth."""
    for values, shares in (([1.0, 8.0], [0.5, 0.5]), ([0.0, 1.0], [0.5, 0.5])):
        truth = true_information_bits(values, shares, 0.3, 1.0)
        assert truth > 0.5 * math.log2(1 + 0.3**2) + 0.3
        assert truth <= gate_information_upper_bits(column(values), one(0.3), one(1.0)).total


def test_the_sum_bounds_two_units_that_depend_on_each_other() -> None:
    """I(h_1, h_2; f) of two copies of one f, by integration over the plane."""
    grid = torch.linspace(-6, 6, 401, dtype=torch.float64)
    sigma, mu, values = 0.5, 1.0, (1.0, -1.0)
    squares = torch.cartesian_prod(grid, grid)
    logs = torch.stack([normal_log_density(squares, one(v * mu), one(sigma)).sum(1) for v in values])
    nats = (logs.exp() * (logs - (torch.logsumexp(logs, 0) - math.log(2)))).mean(0).sum()
    truth = float(nats) * float(grid[1] - grid[0]) ** 2 / math.log(2)
    f = column(list(values)).expand(2, 2)
    bound = gate_information_upper_bits(f, torch.full((2,), mu), torch.full((2,), sigma))
    assert true_information_bits([*values], [0.5, 0.5], mu, sigma) < truth <= bound.total


def test_scaling_activations_changes_nothing() -> None:
    draws = torch.Generator().manual_seed(2)
    f = torch.randn(300, 3, generator=draws, dtype=torch.float64).relu()
    mu, sigma = torch.tensor([1.0, 0.5, -2.0]), torch.tensor([0.3, 1.0, 2.0])
    scale = torch.tensor([1e-3, -7.0, 1e4])
    torch.testing.assert_close(
        gate_information_upper_bits(f * scale, mu, sigma).per_unit,
        gate_information_upper_bits(f, mu, sigma).per_unit,
    )


def test_batches_add_up_to_all_at_once() -> None:
    f = torch.randn(1000, 5, generator=torch.Generator().manual_seed(3)).relu()
    mu, sigma = torch.linspace(-1, 1, 5), torch.linspace(0.1, 2, 5)
    statistics = GateInformation(5)
    for batch in f.split([1, 99, 0, 700, 200]):
        statistics.update(batch)
    torch.testing.assert_close(
        statistics.upper_bits(mu, sigma).per_unit,
        gate_information_upper_bits(f, mu, sigma).per_unit,
        rtol=1e-12,
        atol=0,
    )


def test_what_is_removed_or_never_active_passes_nothing() -> None:
    f = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    kept = torch.tensor([False, True, True])
    mu, sigma = torch.tensor([5.0, 0.0, 5.0]), torch.ones(3)
    bound = gate_information_upper_bits(f, mu, sigma, kept)
    assert bound.per_unit.tolist() == [0.0, 1.0, 0.0]  # the second unit: whether it is active, one bit
    assert bound.total == 1.0
    assert gate_information_upper_bits(f, mu, sigma).total > 3


def test_closed_form_of_the_bound_on_a_grid() -> None:
    for p, mu in itertools.product((1, 5, 10), (0.0, 1.5)):
        f = column([2.0, 8.0] * p + [0.0] * (20 - 2 * p))
        share = p / 10
        switch = -sum(x * math.log2(x) for x in (share, 1 - share) if x > 0)
        psi = math.log(34) - math.log(16)
        expected = switch + share / 2 * (math.log2(1 + mu**2 / 0.49) + psi / math.log(2))
        assert gate_information_upper_bits(f, one(mu), one(0.7)).total == pytest.approx(expected, abs=1e-12)


def test_what_has_no_answer_is_refused() -> None:
    f, units = torch.ones(4, 2), torch.ones(2)
    with pytest.raises(ValueError, match="map"):
        gate_information_upper_bits(torch.ones(4, 2, 3, 3), units, units)
    with pytest.raises(ValueError, match="infinite where activations are zero"):
        gate_kl_bits(torch.eye(2), units, units)
    with pytest.raises(ValueError, match="without noise"):
        gate_information_upper_bits(f, units, torch.zeros(2))
    with pytest.raises(ValueError, match="not finite"):
        gate_information_upper_bits(f * math.nan, units, units)
    with pytest.raises(ValueError, match="call update"):
        GateInformation(2).upper_bits(units, units)
    with pytest.raises(ValueError, match="boolean"):
        gate_information_upper_bits(f, units, units, torch.ones(2))
    statistics = GateInformation(2)
    statistics.update(f)
    with pytest.raises(ValueError, match=r"mu and sigma must be \(2,\)"):
        statistics.upper_bits(torch.ones(3), torch.ones(3))
