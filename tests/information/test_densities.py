"""Density models against closed forms; what they say about information in Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import (
    Autoregressive,
    Kind,
    LinearGaussian,
    correlation_mi_bits,
    correlation_of,
    difference_of_entropies,
    linear_gaussian_mi_bits,
    noisy_upper,
    normal_scores,
)


def gaussians(n: int, d: int, nats: float, seed: int) -> tuple[Tensor, Tensor]:
    rho = correlation_of(nats / math.log(2), d)
    x, noise = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def test_the_linear_gaussian_density() -> None:
    x, y = gaussians(500, 2, 1.0, seed=0)
    density = LinearGaussian(y, x)
    design = torch.cat([torch.ones(500, 1).double(), x], 1)
    rest = y - design @ torch.linalg.pinv(design) @ y
    normal = torch.distributions.MultivariateNormal(torch.zeros(2).double(), rest.T @ rest / 500)
    torch.testing.assert_close(density.log_density(y, x), normal.log_prob(rest))
    assert float(LinearGaussian(y).log_density(y).mean()) < float(density.log_density(y, x).mean())


def test_gaussians_of_twenty_dimensions_and_four_nats() -> None:
    x, y = gaussians(5000, 20, 4.0, seed=1)
    estimate = difference_of_entropies(x, y, "gaussian")
    assert estimate.kind is Kind.PLUG_IN
    assert estimate.heldout_bits * math.log(2) == pytest.approx(4.0, rel=0.05)
    assert estimate.train_bits > estimate.heldout_bits
    assert abs(estimate.heldout_bits - 4 / math.log(2)) < 4 * (estimate.standard_error_bits or 0)
    cubed = difference_of_entropies(x**3, y.asinh(), "gaussian", normal_marginals=True)
    assert cubed.heldout_bits == pytest.approx(estimate.heldout_bits, rel=0.02)
    assert difference_of_entropies(x**3, y, "gaussian").heldout_bits < 0.8 * estimate.heldout_bits


def test_the_autoregressive_density_looks_only_back_and_sums_to_one() -> None:
    torch.manual_seed(0)
    model = Autoregressive(3, 2, hidden=12).double()
    y, x = torch.randn(1, 3).double(), torch.randn(1, 2).double()

    def parts(y: Tensor) -> Tensor:
        grid = torch.linspace(-60, 60, 6001).double()[:, None]
        rows = [
            torch.cat([y[:, :i].expand(6001, i), grid, y[:, i + 1 :].expand(6001, 2 - i)], 1)
            for i in range(3)
        ]
        return torch.stack([model(each, x.expand(6001, 2)) for each in rows])

    # Integrated over the last coordinate it is the density of the first two: y_3 enters no other factor.
    step = 120 / 6000
    marginal = (parts(y)[2].exp() * step).sum()
    other = y.clone()
    other[0, 2] = 5.0
    torch.testing.assert_close(marginal, (parts(other)[2].exp() * step).sum())
    # All three coordinates integrate to one, by the chain of conditionals on a coarse grid.
    grid = torch.linspace(-20, 20, 81).double()
    cube = torch.cartesian_prod(grid, grid, grid)
    with torch.no_grad():
        total = sum(model(each, x.expand(len(each), 2)).exp().sum() for each in cube.split(50_000))
    assert float(total) * 0.5**3 == pytest.approx(1.0, abs=0.02)


def test_autoregressive_entropies_of_something_that_is_not_gaussian() -> None:
    """y = x + noise on two circles of x: the truth by integration over the two coordinates apart."""
    draws = torch.Generator().manual_seed(3)
    x = torch.randint(0, 2, (3000, 1), generator=draws).double() * 6 - 3
    y = x + torch.randn(3000, 1, generator=draws, dtype=torch.float64)
    t = torch.linspace(-12, 12, 4001).double()
    p = 0.5 * (torch.exp(-((t - 3) ** 2) / 2) + torch.exp(-((t + 3) ** 2) / 2)) / math.sqrt(2 * math.pi)
    entropy = -float(torch.trapezoid(torch.xlogy(p, p), t))
    truth = (entropy - 0.5 * math.log(2 * math.pi * math.e)) / math.log(2)
    estimate = difference_of_entropies(x, y)
    assert estimate.heldout_bits == pytest.approx(truth, abs=0.06)
    assert difference_of_entropies(x, y, "gaussian").heldout_bits > truth + 0.5  # no bound, as its kind says
    assert noisy_upper(y, torch.eye(1)).heldout_bits == pytest.approx(truth, abs=0.1)
    assert difference_of_entropies(x, y) == estimate  # seeded


def test_the_upper_bound_of_a_noisy_layer() -> None:
    draws = torch.Generator().manual_seed(4)
    w = torch.randn(4, 3, generator=draws, dtype=torch.float64)
    noise = 0.1 * torch.eye(4, dtype=torch.float64)
    truth = linear_gaussian_mi_bits(w, torch.eye(3), noise)
    values = []
    for seed in range(100):
        x = torch.randn(100, 3, generator=draws, dtype=torch.float64)
        t = x @ w.T + math.sqrt(0.1) * torch.randn(100, 4, generator=draws, dtype=torch.float64)
        estimate = noisy_upper(t, noise, "gaussian", seed)
        assert estimate.field("mi_xl") == "mi_xl_upper_bits"
        values.append(estimate.heldout_bits)
    assert truth < sum(values) / 100 < 1.05 * truth
    wrong = noisy_upper(t.sinh(), noise, "gaussian")  # a wrong family still bounds, from above
    with pytest.raises(ValueError, match="noise_covariance"):
        noisy_upper(t, 0 * noise)
    assert wrong.heldout_bits > truth


def test_normal_scores_are_increasing_and_normal() -> None:
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    mapped = normal_scores(x**3, x**3)
    torch.testing.assert_close(mapped.mean(0), torch.zeros(2).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(mapped.std(0), torch.ones(2).double(), atol=0.1, rtol=0)
    ties = normal_scores(x.round(), x.round())
    assert len(ties[:, 0].unique()) == len(x[:, 0].round().unique())
    other = torch.linspace(-200, 200, 5001).double()[:, None].repeat(1, 2)
    assert bool((normal_scores(x**3, other).diff(dim=0) > 0).all())
    with pytest.raises(ValueError, match="constant"):
        normal_scores(torch.zeros(50, 1), x)


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y = gaussians(40, 1, 1.0, seed=6)
    with pytest.raises(ValueError, match="family"):
        difference_of_entropies(x, y, "flow")
    with pytest.raises(ValueError, match="infinite"):
        LinearGaussian(torch.ones(40, 1).double() * x, torch.cat([x, x], 1))
    with pytest.raises(ValueError, match="too few"):
        LinearGaussian(y[:2], x[:2])
    with pytest.raises(ValueError, match="split"):
        difference_of_entropies(x[:8], y[:8])
    assert correlation_mi_bits(torch.tensor(0.0)) == 0.0
