import itertools
import math

import pytest
import torch
from torch import Tensor

from ibsuite.compression import quantise_clusters, quantise_kmeans, quantise_uniform, weighted_kmeans


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


# Codebooks that weigh what each weight costs


def importances(*shape: int, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draws) ** 3, 5 * torch.rand(*shape, generator=draws) ** 3


@pytest.mark.parametrize("clusters", [1, 2, 5, 16])
def test_pruned_weights_stay_zero_and_others_take_the_nearest_value(clusters: int) -> None:
    weights = normal(30, 40) + 0.3
    weights[weights.abs() < 0.5] = 0
    symbols, step, codebook = quantise_clusters(weights, clusters, *importances(30, 40, seed=1))
    assert codebook is not None
    assert (len(codebook), codebook.dtype, step) == (clusters + 1, torch.float16, 1.0)
    assert (codebook.diff() > 0).all()
    low = int(symbols.min().clamp(max=0))
    assert codebook[-low] == 0
    assert torch.equal(symbols == 0, weights == 0)
    values = codebook[codebook != 0].float()
    taken = codebook.float()[symbols - low]
    best = (weights[..., None] - values).abs().amin(-1)
    assert torch.equal((weights - taken).abs()[weights != 0], best[weights != 0])


def test_the_codebook_is_that_of_kmeans_in_float16() -> None:
    weights = normal(500) + 3  # nothing near zero
    quadratic, quartic = importances(500, seed=2)
    for given in ((None, None), (quadratic, None), (None, quartic), (quadratic, quartic)):
        _, _, codebook = quantise_clusters(weights, 6, *given)
        assert codebook is not None
        assert torch.equal(codebook[1:], weighted_kmeans(weights, 6, *given).values.half())
        assert codebook[0] == 0


def test_one_sign_alone_has_no_symbols_of_the_other() -> None:
    weights = normal(40).abs() + 0.1
    for sign, expected in ((1, {1, 2, 3}), (-1, {-3, -2, -1})):
        quantised = quantise_clusters(sign * weights, 3)
        assert set(quantised.symbols.unique().tolist()) == expected
        assert (quantised.values() * sign > 0).all()


def test_importance_lessens_the_weighted_cost() -> None:
    weights = normal(2000, seed=3)
    quadratic, quartic = importances(2000, seed=3)
    plain, weighted = quantise_clusters(weights, 6), quantise_clusters(weights, 6, quadratic, quartic)

    def cost(values: Tensor) -> float:
        squares = (values - weights).double().square()
        return float((quadratic * squares + quartic * squares.square()).sum())

    assert cost(weighted.values()) < 0.95 * cost(plain.values())


def test_odd_tensors_in_clusters() -> None:
    for tensor in (torch.zeros(3, 2), torch.empty(0, 3)):
        quantised = quantise_clusters(tensor, 4)
        assert quantised.symbols.tolist() == tensor.tolist()
        assert quantised.codebook is not None
        assert quantised.codebook.tolist() == [0]
    few = torch.tensor([[0.0, -2.5, 0.5], [0.5, 0.0, -2.5]])
    assert torch.equal(quantise_clusters(few, 16).values(), few)
    assert float(quantise_clusters(torch.tensor(-2.5), 4).values()) == -2.5
    tiny = quantise_clusters(torch.tensor([1e-9, -1e-9, 1.0]), 2)  # float16 has no such value
    assert tiny.symbols.tolist() == [0, 0, 1]


def test_bad_settings_of_clusters_are_named() -> None:
    with pytest.raises(ValueError, match="clusters=0"):
        quantise_clusters(normal(10), 0)
    with pytest.raises(ValueError, match="float16"):
        quantise_clusters(torch.tensor([1.0, 1e6]), 2)
    with pytest.raises(ValueError, match="quadratic has shape"):
        quantise_clusters(normal(10), 2, torch.ones(9))
    with pytest.raises(ValueError, match="negative; quartic"):
        quantise_clusters(normal(10), 2, None, -torch.ones(10))
    with pytest.raises(ValueError, match="A quartic importance that is not finite"):
        quantise_clusters(normal(10), 2, None, torch.full((10,), math.nan))
