"""Pairwise bounds of a noisy output against brute force, integration and Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import kernel_bounds, kernel_information_nats, linear_gaussian_mi_bits


def mixture_information_bits(centres: Tensor, std: float) -> float:
    """I(i; T) of a mixture of equally probable Gaussians on a line, integrated."""
    t = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    logs = -(((t - centres) / std) ** 2) / 2 - math.log(std * math.sqrt(2 * math.pi))
    mixture = logs.logsumexp(0) - math.log(len(centres))
    entropy = -float(torch.trapezoid(mixture.exp() * mixture, t))
    return (entropy - 0.5 * math.log(2 * math.pi * math.e * std**2)) / math.log(2)


@pytest.mark.parametrize("std", [0.2, 1.0, 4.0])
def test_the_information_of_a_mixture_lies_between_the_bounds(std: float) -> None:
    centres = torch.tensor([[-3.0], [-2.5], [0.0], [1.0], [4.0]], dtype=torch.float64)
    bounds, truth = kernel_bounds(centres, std), mixture_information_bits(centres, std)
    assert 0 <= bounds.lower_bits <= truth <= bounds.sample_upper_bits <= math.log2(5)


def test_chunks_give_the_same_as_loops() -> None:
    f = torch.randn(11, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 50
    std = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for c, alone in ((0.5, True), (0.5, False), (0.125, False)):
        total = 0.0
        for i in range(11):
            others = [j for j in range(11) if j != i or not alone]
            terms = [math.exp(-c * float((((f[i] - f[j]) / std) ** 2).sum())) for j in others]
            total -= math.log(sum(terms) / len(terms)) / 11
        for chunk in (1, 4, 1024):
            assert float(kernel_information_nats(f, std, c, alone, chunk)) == pytest.approx(total, abs=1e-10)


def test_gaussian_outputs_lie_between_the_bounds_on_average() -> None:
    """The upper bound with an input compared with itself falls below the truth as it cannot exceed log n."""
    d, std, n = 3, 0.3, 40
    eye = torch.eye(d, dtype=torch.float64)
    truth = linear_gaussian_mi_bits(eye, eye, std**2 * eye)
    draws = torch.Generator().manual_seed(1)
    all_bounds = torch.tensor(
        [kernel_bounds(torch.randn(n, d, generator=draws, dtype=torch.float64), std) for _ in range(100)]
    )
    lower, sample_upper, upper = all_bounds.mean(0).tolist()
    assert lower < truth < upper
    assert sample_upper <= math.log2(n) < truth + 0.5
    # Exact for many inputs: E_x of -log E_x' exp(-|x - x'|^2 / 2 s^2), Gaussian integrals.
    exact = d * (0.5 * math.log2(1 + 1 / std**2) + 0.5 / (1 + std**2) / math.log(2))
    many = kernel_bounds(torch.randn(4000, d, generator=draws, dtype=torch.float64), std)
    assert many.upper_bits == pytest.approx(exact, rel=0.01)


def test_hardly_any_noise_and_single_precision() -> None:
    """Every input has a neighbour at half the noise: 1,000 times two."""
    apart = torch.arange(1000.0)[:, None].repeat_interleave(2, 0)
    centres = apart + torch.tensor([0.0, 0.5 * 2.0**-10]).repeat(1000)[:, None]
    nats = float(kernel_information_nats(centres, 2.0**-10))
    assert nats == pytest.approx(math.log(2000) - math.log1p(math.exp(-0.125)), abs=1e-9)


def test_it_is_an_objective() -> None:
    f = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: kernel_information_nats(t, 0.7, chunk=4), (f,))
    assert torch.autograd.gradcheck(lambda t: kernel_information_nats(t, 0.7, leave_one_out=True), (f,))


def test_equal_inputs_say_nothing_and_no_noise_is_refused() -> None:
    assert kernel_bounds(torch.ones(5, 2), 1.0) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="infinite"):
        kernel_bounds(torch.ones(5, 2), 0.0)
    with pytest.raises(ValueError, match="at least two"):
        kernel_bounds(torch.ones(1, 2), 1.0)
