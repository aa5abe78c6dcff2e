import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ibsuite.compression import entropy_bits, quantise_entropy_constrained, quantise_uniform
from ibsuite.compression.entropy_constrained import Search


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, some of them zero, and importances, some of them zero."""
    draws = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, generator=draws, dtype=torch.float64) ** 3
    quadratic, quartic = (torch.rand(n, generator=draws, dtype=torch.float64) ** 3 for _ in range(2))
    weights[::7], quadratic[::5], quartic[::3] = 0, 0, 0
    return weights, quadratic, quartic


def error(symbols: Tensor, step: float, weights: Tensor, quadratic: Tensor, quartic: Tensor) -> Tensor:
    squares = (weights - step * symbols) ** 2
    return quadratic * squares + quartic * squares**2


def bits(symbols: Tensor) -> float:
    return entropy_bits(symbols.unique(return_counts=True)[1])


def search(
    case: tuple[Tensor, Tensor, Tensor], step: float, multiplier: float
) -> tuple[Search, np.ndarray, int]:
    left = case[0] != 0
    weights, quadratic, quartic = (x[left].numpy() for x in case)
    start = np.rint(weights / step).astype(np.int64)
    return Search(weights, quadratic, quartic, step, multiplier), start, int((~left).sum())


@pytest.mark.parametrize("step", [0.25, 1.0])
@pytest.mark.parametrize("multiplier", [0.001, 0.03, 0.3, 10.0])
def test_each_weight_has_the_best_integer_of_all(step: float, multiplier: float) -> None:
    for seed in range(5):
        case = drawn(300, seed)
        symbols = quantise_entropy_constrained(case[0], step, multiplier, *case[1:]).symbols
        used, counts = symbols.unique(return_counts=True)
        prices = multiplier * torch.log2(len(symbols) / counts)
        costs = torch.stack([error(k, step, *case) for k in used]) + prices[:, None]
        taken = costs.gather(0, torch.searchsorted(used, symbols)[None])[0]
        left = case[0] != 0
        assert torch.allclose(taken[left], costs.amin(0)[left], rtol=1e-12, atol=1e-12)
        assert not symbols[~left].any()


@pytest.mark.parametrize("multiplier", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_lagrangian_never_grows(multiplier: float, seed: int) -> None:
    case = drawn(2000, seed)
    searched, start, zeros = search(case, 0.25, multiplier)
    symbols, trace = searched.alternate(start, zeros)
    assert len(trace) > 3
    assert all(b <= a * (1 + 1e-13) for a, b in itertools.pairwise(trace))
    assert trace[-1] < 0.97 * trace[0]
    for given, expected in ((start, trace[0]), (symbols, trace[-1])):
        whole = torch.zeros(2000, dtype=torch.int64)
        whole[case[0] != 0] = torch.from_numpy(given)
        lagrangian = float(error(whole, 0.25, *case).sum()) + multiplier * bits(whole)
        assert lagrangian == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("multiplier", [0.002, 0.05, 0.5])
@pytest.mark.parametrize("seed", range(6))
def test_every_round_is_that_of_a_search_through_all_integers(multiplier: float, seed: int) -> None:
    step = 0.25
    case = drawn(1000, seed)
    searched, start, zeros = search(case, step, multiplier)
    _, trace = searched.alternate(start, zeros)
    left = tuple(x[case[0] != 0] for x in case)
    symbols = torch.from_numpy(start)
    for expected in trace:
        whole = torch.cat([symbols, torch.zeros(zeros, dtype=torch.int64)])
        lagrangian = float(error(symbols, step, *left).sum()) + multiplier * bits(whole)
        assert lagrangian == pytest.approx(expected, rel=1e-12)
        used, counts = whole.unique(return_counts=True)
        prices = multiplier * torch.log2(len(whole) / counts)
        costs = torch.stack([error(k, step, *left) for k in used]) + prices[:, None]
        now = costs.gather(0, torch.searchsorted(used, symbols)[None])[0]
        symbols = torch.where(costs.amin(0) < now, used[costs.argmin(0)], symbols)


def test_between_plain_rounding_and_the_exact_optimum() -> None:
    step, multiplier = 1.0, 0.3
    for seed in range(3):
        draws = torch.Generator().manual_seed(seed)
        weights = 1.2 * torch.randn(5, generator=draws, dtype=torch.float64)
        quadratic = torch.rand(5, generator=draws, dtype=torch.float64)
        case = weights, quadratic, torch.zeros(5)

        def lagrangian(symbols: Tensor, case: tuple[Tensor, Tensor, Tensor] = case) -> float:
            return float(error(symbols, step, *case).sum()) + multiplier * bits(symbols)

        exact = min(lagrangian(torch.tensor(k)) for k in itertools.product(range(-2, 3), repeat=5))
        found = lagrangian(quantise_entropy_constrained(weights, step, multiplier, quadratic).symbols)
        assert exact - 1e-12 <= found <= lagrangian(weights.round().long()) + 1e-12


def test_without_a_price_it_is_plain_rounding() -> None:
    weights, quadratic, _ = drawn(1000, 3)
    found = quantise_entropy_constrained(weights.reshape(20, 50), 0.3, 0.0, quadratic.reshape(20, 50))
    plain = quantise_uniform(weights.reshape(20, 50), 0.3)
    assert torch.equal(found.symbols, plain.symbols)
    assert (found.step, found.codebook) == (plain.step, None)


def test_the_dearer_bits_are_the_fewer_are_spent() -> None:
    case = drawn(3000, 4)
    spent, lost = [], []
    for multiplier in (0.0, 0.01, 0.1, 1.0, 1e6):
        symbols = quantise_entropy_constrained(case[0], 0.25, multiplier, *case[1:]).symbols
        spent.append(bits(symbols))
        lost.append(float(error(symbols, 0.25, *case).sum()))
    assert all(b < a for a, b in itertools.pairwise(spent))
    assert all(b > a for a, b in itertools.pairwise(lost))
    assert spent[-1] == 0


def test_a_weight_of_no_importance_becomes_zero_wherever_the_shortest_code_lies() -> None:
    weights = torch.tensor([3.0, 3.0, 3.0, 1.0, 0.0, 8.0])
    quadratic = torch.tensor([9.0, 9.0, 9.0, 9.0, 9.0, 0.0])
    symbols = quantise_entropy_constrained(weights, 1.0, 0.1, quadratic).symbols
    assert symbols.tolist() == [3, 3, 3, 1, 0, 0]
    assert quantise_entropy_constrained(weights, 1.0, 0.0, quadratic).symbols.tolist() == [3, 3, 3, 1, 0, 8]


def test_integers_may_move_outward() -> None:
    weights = torch.tensor([1.4] + [2.0] * 20 + [1.0, -1.0])
    symbols = quantise_entropy_constrained(weights, 1.0, 0.2).symbols
    assert symbols[0] == 2  # 0.36 and a short code instead of 0.16 and a long one


def test_odd_tensors() -> None:
    for tensor in (torch.zeros(3, 2), torch.empty(0, 3)):
        assert quantise_entropy_constrained(tensor, 0.5, 1.0).symbols.tolist() == tensor.tolist()
    assert int(quantise_entropy_constrained(torch.tensor(-2.5), 0.5, 1.0).symbols) == -5


def test_bad_input_is_named() -> None:
    weights = torch.ones(3)
    for multiplier in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="multiplier"):
            quantise_entropy_constrained(weights, 0.5, multiplier)
    with pytest.raises(ValueError, match="positive bfloat16"):
        quantise_entropy_constrained(weights, 0.0, 1.0)
    with pytest.raises(ValueError, match="not finite"):
        quantise_entropy_constrained(torch.tensor([math.nan]), 0.5, 1.0)
    with pytest.raises(ValueError, match="shape of the weights"):
        quantise_entropy_constrained(weights, 0.5, 1.0, torch.ones(2))
