"""Nearest neighbours and bins against brute force, Gaussians and tables."""

import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import Kind, binned, correlation_mi_bits, ksg, table_mi_bits


def gaussians(n: int, d: int, rho: float, seed: int) -> tuple[Tensor, Tensor]:
    x, noise = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def test_ksg_against_loops() -> None:
    x, y = gaussians(30, 2, 0.8, seed=0)
    dx, dy = ((v[:, None] - v).abs().amax(2) for v in (x, y))
    joint = torch.maximum(dx, dy).fill_diagonal_(math.inf)
    radius = joint.sort(1).values[:, 3]
    psi = torch.digamma
    counts = [(d < radius[:, None]).sum(1) for d in (dx, dy)]  # the point itself stands for the + 1
    nats = psi(torch.tensor(4.0).double()) + psi(torch.tensor(30.0).double())
    nats -= sum(psi(c.double()).mean() for c in counts)
    assert ksg(x, y, neighbours=4).heldout_bits == pytest.approx(float(nats) / math.log(2), abs=1e-12)


@pytest.mark.parametrize(("d", "rho"), [(1, 0.0), (1, 0.9), (2, 0.6)])
def test_ksg_on_gaussians(d: int, rho: float) -> None:
    truth = correlation_mi_bits(torch.full((d,), rho).double())
    estimates = [ksg(*gaussians(1000, d, rho, seed)).heldout_bits for seed in range(4)]
    assert sum(estimates) / 4 == pytest.approx(truth, abs=0.06)


def test_ksg_saturates_and_says_where() -> None:
    x, _ = gaussians(200, 1, 0.0, seed=1)
    estimate = ksg(x, x + 1e-9 * x**2)
    assert estimate.kind is Kind.PLUG_IN
    assert estimate.heldout_bits <= estimate.ceiling_bits < math.log2(200) + 4
    with pytest.raises(ValueError, match="distance zero"):
        ksg(torch.zeros(50), torch.zeros(50))
    with pytest.raises(ValueError, match="neighbours"):
        ksg(x, x, neighbours=200)


def test_bins_of_integers_are_the_table() -> None:
    counts = torch.tensor([[5, 1, 0], [2, 2, 7]])
    cells = torch.arange(6).repeat_interleave(counts.flatten())
    estimate = binned(cells // 3, (cells % 3)[:, None])
    assert estimate.heldout_bits == pytest.approx(table_mi_bits(counts), abs=1e-12)
    assert binned(torch.zeros(9), torch.arange(9)).heldout_bits == 0.0


def test_bins_of_gaussians() -> None:
    x, y = gaussians(50_000, 1, 0.8, seed=2)
    truth = correlation_mi_bits(torch.tensor(0.8).double())
    assert binned(x, y, bins=30).heldout_bits == pytest.approx(truth, abs=0.03)
    assert binned(x, y, bins=3).heldout_bits < truth - 0.1
    edges = torch.linspace(float(x.min()), float(x.max()), 6, dtype=torch.float64)
    by_hand = torch.bucketize(x[:, 0], edges[1:-1])
    assert binned(x, y, 5).heldout_bits == pytest.approx(binned(by_hand, y, 5).heldout_bits, abs=1e-3)


def test_bins_of_many_coordinates_count_samples() -> None:
    """Planted violation: nothing is shared, and the bins say log2 n."""
    x, y = gaussians(500, 20, 0.0, seed=3)
    assert binned(x, y).heldout_bits == pytest.approx(math.log2(500), abs=1e-9)
    with pytest.raises(ValueError, match="bins"):
        binned(x, y, bins=0)
    with pytest.raises(ValueError, match="same samples"):
        binned(x, y[1:])
