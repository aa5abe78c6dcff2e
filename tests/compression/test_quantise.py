import itertools
import math

import pytest
import torch
from torch import Tensor

from ibsuite.compression import quantise_kmeans, quantise_uniform
from ibsuite.compression.quantise import lloyd


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Uniform grid


@pytest.mark.parametrize("step", [0.3, 0.01, 1e-4, 7.0])
def test_error_is_half_a_step_at_most(step: float) -> None:
    tensor = normal(50, 20)
    quantised = quantise_uniform(tensor, step)
    assert quantised.step == float(torch.tensor(step).bfloat16())
    error = (quantised.values().double() - tensor.double()).abs().max()
    assert 0.4 * min(step, 1) < error < quantised.step / 2 * (1 + 1e-3) or step == 7.0
    assert quantised.symbols.shape == tensor.shape
    assert quantised.symbols.dtype == torch.int64


@pytest.mark.parametrize("step", [0.3, 0.01])
def test_quantising_again_changes_nothing(step: float) -> None:
    once = quantise_uniform(normal(50, 20), step)
    again = quantise_uniform(once.values(), once.step)
    assert torch.equal(once.symbols, again.symbols)
    assert once.step == again.step


def test_bad_steps_and_weights_are_named() -> None:
    for step in (0.0, -1.0, math.inf, math.nan, 1e-60):
        with pytest.raises(ValueError, match="positive bfloat16"):
            quantise_uniform(normal(2), step)
    with pytest.raises(ValueError, match="too fine"):
        quantise_uniform(normal(2), 1e-20)
    for bad in (math.nan, -math.inf):
        for quantise in (quantise_uniform, quantise_kmeans):
            with pytest.raises(ValueError, match="not finite"):
                quantise(torch.tensor([1.0, bad]), 2)


# Codebooks


def squared_error(weights: Tensor, values: Tensor) -> float:
    return float((weights[:, None] - values[None]).square().amin(1).sum())


def exact_error(weights: Tensor, levels: int) -> float:
    """Least squared error with zero and ``levels`` - 1 values: dynamic programming over sorted weights."""
    w = weights.double().sort().values.tolist()
    n = len(w)

    def around_mean(i: int, j: int) -> float:
        mean = sum(w[i:j]) / (j - i)
        return sum((x - mean) ** 2 for x in w[i:j])

    # best[used][zero][j]: the first j weights in `used` clusters of their own mean and, if zero, one at 0
    best = {(0, False): [0.0] + [math.inf] * n}
    for used, zero in itertools.product(range(levels), (False, True)):
        row = best.setdefault((used, zero), [math.inf] * (n + 1))
        for j in range(n + 1):
            for i in range(j + 1):
                if used and i < j:
                    row[j] = min(row[j], best[used - 1, zero][i] + around_mean(i, j))
                if zero:
                    row[j] = min(row[j], best[used, False][i] + sum(x * x for x in w[i:j]))
    return min(best[used, True][n] for used in range(levels))


@pytest.mark.parametrize("levels", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(5))
def test_close_to_the_exact_optimum(levels: int, seed: int) -> None:
    weights = normal(24, seed=seed)
    found = float((quantise_kmeans(weights, levels).values() - weights).double().square().sum())
    exact = exact_error(weights, levels)
    assert found >= exact * (1 - 1e-3)  # the exact optimum has values that float16 may not have
    assert found <= exact * 1.6 + 1e-4


def test_exact_where_clusters_are_plain() -> None:
    values = torch.tensor([-1.0, -0.25, 0.5, 2.0])
    weights = (values[torch.arange(40) % 4] + 0.01 * normal(40)).reshape(5, 8)
    weights[0] = 0
    quantised = quantise_kmeans(weights, 5)
    assert quantised.codebook is not None
    assert quantised.codebook.tolist() == pytest.approx([-1, -0.25, 0, 0.5, 2], abs=0.01)
    error = float((quantised.values() - weights).double().square().sum())
    assert error == pytest.approx(exact_error(weights.flatten(), 5), rel=0.01)
    assert torch.equal(quantised.symbols == 0, weights == 0)


def test_every_round_of_lloyd_lessens_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = normal(2000).double().sort().values
    start = torch.cat([weights[::300], torch.zeros(1, dtype=torch.float64)]).sort().values
    errors = [squared_error(weights, start)]
    rounds = 1
    while True:
        monkeypatch.setattr("ibsuite.compression.quantise.ROUNDS", rounds)
        errors.append(squared_error(weights, lloyd(weights, start)))
        if errors[-1] == errors[-2]:
            break
        rounds += 1
    assert rounds > 10
    assert all(b < a for a, b in itertools.pairwise(errors[:-1]))
    assert errors[-1] < errors[0] / 2


@pytest.mark.parametrize("levels", [2, 3, 8, 16])
def test_symbols_are_in_the_order_of_values_and_nearest(levels: int) -> None:
    weights = normal(30, 40)
    weights[weights.abs() < 0.5] = 0
    symbols, _, codebook = quantise_kmeans(weights, levels)
    assert codebook is not None
    assert len(codebook) <= levels
    assert codebook.dtype == torch.float16
    assert (codebook.diff() > 0).all()
    low = int(symbols.min().clamp(max=0))
    assert codebook[-low] == 0
    assert set(symbols.unique().tolist()) | {0} == set(range(low, low + len(codebook)))
    assert (symbols[weights == 0] == 0).all()
    nearest = (weights.flatten()[:, None] - codebook.float()).abs().argmin(1) + low
    assert torch.equal(nearest.reshape(symbols.shape), symbols)


@pytest.mark.parametrize("levels", [2, 5, 16])
def test_few_values_stay_what_they_are(levels: int) -> None:
    once = quantise_kmeans(normal(300), levels)
    again = quantise_kmeans(once.values(), levels)
    assert torch.equal(once.symbols, again.symbols)
    assert once.codebook is not None
    assert again.codebook is not None
    assert torch.equal(once.codebook, again.codebook)


def test_odd_tensors() -> None:
    for tensor in (torch.zeros(3, 2), torch.empty(0, 3)):
        quantised = quantise_kmeans(tensor, 4)
        assert quantised.symbols.tolist() == tensor.tolist()
        assert quantised.codebook is not None
        assert quantised.codebook.tolist() == [0]
    assert float(quantise_kmeans(torch.tensor(-2.5), 4).values()) == -2.5
    assert quantise_kmeans(torch.full((3,), 1e-9), 3).symbols.tolist() == [
        0,
        0,
        0,
    ]  # float16 has no such value


def test_bad_codebooks_are_named() -> None:
    with pytest.raises(ValueError, match="at least two entries"):
        quantise_kmeans(normal(10), 1)
    with pytest.raises(ValueError, match="float16"):
        quantise_kmeans(torch.tensor([1.0, 1e6]), 3)


def test_a_million_weights_take_no_time() -> None:
    assert len(quantise_kmeans(normal(1000, 1000), 16).symbols.unique()) == 16
