"""Two-part, Bayesian and prequential codes of one small model: n H + (d/2) log2 n + O(1), all three.

The classical equivalence to which Blier & Ollivier 2018, section 4, appeals (Rissanen; Gruenwald 2007), for
the K-class model with d = K - 1 parameters, and for a logistic regression, where nothing has a closed form.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ibsuite.codes import class_frequency_bits, empirical_entropy_bits

SIZES = [2**k for k in range(8, 17)]
P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def labels(n: int, seed: int = 0) -> torch.Tensor:
    return torch.multinomial(P, n, replacement=True, generator=torch.Generator().manual_seed(seed))


def two_part_bits(y: torch.Tensor) -> float:
    """Frequencies to a precision of 1/sqrt(n): the index on a grid of about sqrt(n)^d points, then labels."""
    n, d = len(y), len(P) - 1
    cells = round(math.sqrt(n))
    counts = torch.bincount(y, minlength=len(P))
    grid = (counts[:d].double() / n * cells).round().clamp(1, cells - d)
    frequencies = torch.cat([grid, cells - grid.sum()[None]]) / cells
    return d * math.log2(cells) - float((counts * torch.log2(frequencies)).sum())


def mixture_bits(y: torch.Tensor) -> float:
    """Bayes under Dirichlet(1/2): ratios of gamma functions."""
    counts, half = torch.bincount(y, minlength=len(P)).double(), len(P) / 2
    nats = math.lgamma(len(y) + half) - math.lgamma(half)
    return (nats + float((math.lgamma(0.5) - torch.lgamma(counts + 0.5)).sum())) / math.log(2)


def plug_in_bits(y: torch.Tensor) -> float:
    """Each label under smoothed frequencies of those before it, one at a time."""
    counts, bits = [1.0] * len(P), 0.0
    for label in y.tolist():
        bits -= math.log2(counts[label] / sum(counts))
        counts[label] += 1
    return bits


def slope(lengths: list[float], sizes: list[int]) -> float:
    """Of excess bits against log2 n, by least squares."""
    return float(np.polyfit(np.log2(sizes), lengths, 1)[0])


def assert_half_a_log_n_each(code: Callable[[torch.Tensor], float]) -> None:
    """The excess over n H under the best frequencies is (d/2) log2 n + O(1)."""
    half, excess = (len(P) - 1) / 2, []
    for n in SIZES:
        drawn = [labels(n, seed) for seed in range(3)]
        excess.append(sum(code(y) - empirical_entropy_bits(y, len(P)) for y in drawn) / len(drawn))
    assert slope(excess, SIZES) == pytest.approx(half, abs=0.12)
    assert all(abs(over - half * math.log2(n)) < 4 for over, n in zip(excess, SIZES, strict=True))


def adaptive_bits(y: torch.Tensor) -> float:
    """The package's own code of labels without inputs."""
    return class_frequency_bits(y, len(P))


@pytest.mark.parametrize("code", [two_part_bits, mixture_bits, plug_in_bits, adaptive_bits])
def test_parameters_cost_half_a_log_n_each(code: Callable[[torch.Tensor], float]) -> None:
    assert_half_a_log_n_each(code)


def test_planted_violation_parameters_as_full_floats() -> None:
    """32 bits for a parameter whatever n."""
    with pytest.raises(AssertionError):
        assert_half_a_log_n_each(lambda y: 32 * (len(P) - 1) + empirical_entropy_bits(y, len(P)))


def test_sequential_coding_is_bayes_exactly() -> None:
    """The KT estimator's predictions multiply to the mixture: the ends of one chain rule."""
    y = labels(500)
    assert class_frequency_bits(y, len(P)) == pytest.approx(mixture_bits(y), abs=1e-8)


def test_logistic_regression() -> None:
    """One weight, x = +-1 or +-2: two-part at precision 1/sqrt(n), Bayes on a grid, prequential by Newton."""
    sizes = [2**k for k in range(8, 14)]
    draws = np.random.default_rng(0)
    excess: dict[str, list[float]] = {"two-part": [], "mixture": [], "prequential": []}
    for n in sizes:
        totals = dict.fromkeys(excess, 0.0)
        repeats = 8
        for _ in range(repeats):
            x = draws.choice([-2.0, -1.0, 1.0, 2.0], n)
            s = np.where(draws.random(n) < 1 / (1 + np.exp(-0.8 * x)), 1.0, -1.0) * x

            def nats(w: np.ndarray, s: np.ndarray = s) -> np.ndarray:
                values, counts = np.unique(s, return_counts=True)
                return np.logaddexp(0, -np.multiply.outer(w, values)) @ counts

            grid = np.linspace(-4, 4, 20_001)
            on_grid = nats(grid)
            best = on_grid.min()
            cells = math.ceil(8 * math.sqrt(n))  # of [-4, 4], a grid of 1/sqrt(n)
            two_part = nats(np.linspace(-4, 4, cells)).min() + math.log(cells)
            density = np.exp(-(on_grid - best)) / 8  # uniform prior on [-4, 4]
            mixture = best - math.log(density.sum() * (grid[1] - grid[0]))
            w, prequential, gradient = 0.0, 0.0, 0.0
            counts: dict[float, int] = {}
            for value in s.tolist():
                prequential += math.log1p(math.exp(-w * value))
                counts[value] = counts.get(value, 0) + 1
                for _ in range(2):  # MAP under N(0, 2^2), so that it exists from the first label on
                    gradient, curvature = w / 4, 0.25
                    for v, c in counts.items():
                        p = 1 / (1 + math.exp(w * v))
                        gradient, curvature = gradient - c * v * p, curvature + c * v * v * p * (1 - p)
                    w -= gradient / curvature
            for name, found in zip(excess, (two_part, mixture, prequential), strict=True):
                totals[name] += (found - best) / math.log(2) / repeats
        for name in excess:
            excess[name].append(totals[name])
    for name, lengths in excess.items():
        assert slope(lengths, sizes) == pytest.approx(0.5, abs=0.15), name
