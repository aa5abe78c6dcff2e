import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ibsuite.compression.kmeans import (
    BLOCK,
    SortedWeights,
    _closed_form,
    _power_sums,
    cubic_roots,
    lloyd,
    weighted_kmeans,
)


def drawn(n: int, seed: int, kind: str = "quartic") -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Weights and importances: uneven ones, a few of them zero."""
    draws = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, generator=draws, dtype=torch.float64)
    quadratic, quartic = (torch.rand(n, generator=draws, dtype=torch.float64) ** 4 for _ in range(2))
    quadratic[::11], quartic[::5] = 0, 0
    return weights, None if kind == "plain" else quadratic, 3 * quartic if kind == "quartic" else None


def given(weights: Tensor, quadratic: Tensor | None, quartic: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    ones = torch.ones_like(weights)
    return weights, ones if quadratic is None else quadratic, 0 * ones if quartic is None else quartic


def cost(values: Tensor, weights: Tensor, quadratic: Tensor | None, quartic: Tensor | None) -> float:
    w, i, h = given(weights, quadratic, quartic)
    return float((i * (w - values) ** 2 + h * (w - values) ** 4).sum())


def slope(x: float, w: list[float], i: list[float], h: list[float]) -> float:
    return sum(2 * b * (x - a) + 4 * c * (x - a) ** 3 for a, b, c in zip(w, i, h, strict=True))


def bisected(w: list[float], i: list[float], h: list[float]) -> float:
    """Where the derivative of a cluster's cost changes its sign."""
    low, high = min(w), max(w)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle, w, i, h) < 0 else (low, middle)
    return (low + high) / 2


def exact_cost(clusters: int, weights: Tensor, quadratic: Tensor | None, quartic: Tensor | None) -> float:
    """The least cost there is: dynamic programming over intervals of sorted weights."""
    order = weights.argsort()
    w, i, h = (x[order].tolist() for x in given(weights, quadratic, quartic))
    n = len(w)

    def interval(a: int, b: int) -> float:
        parts = w[a:b], i[a:b], h[a:b]
        x = bisected(*parts)
        return sum(q * (x - v) ** 2 + r * (x - v) ** 4 for v, q, r in zip(*parts, strict=True))

    costs = {(a, b): interval(a, b) for a in range(n) for b in range(a + 1, n + 1)}
    best = [0.0] + [math.inf] * n
    for _ in range(clusters):
        best = [math.inf] + [min(best[a] + costs[a, b] for a in range(b)) for b in range(1, n + 1)]
    return best[n]


# The value of one cluster


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.0, 1e-300, 1e-12, 1e-3, 1.0, 1e6, 1e200])
def test_the_root_is_where_the_derivative_changes_its_sign(seed: int, share: float) -> None:
    weights, quadratic, quartic = (np.asarray(x) for x in given(*drawn(12, seed)))
    quartic = share * quartic
    sums = _power_sums(weights, quadratic, quartic, np.array([0]))
    root = float(cubic_roots(sums)[0])
    assert root == pytest.approx(bisected(weights.tolist(), quadratic.tolist(), quartic.tolist()), abs=1e-12)
    if share == 0:
        assert root == pytest.approx(np.average(weights, weights=quadratic), abs=1e-14)


@pytest.mark.parametrize("share", [1e-6, 1e-3, 1.0, 1e3])
def test_the_closed_form_needs_no_polish_but_for_rounding(share: float) -> None:
    for seed in range(5):
        weights, quadratic, quartic = (np.asarray(x) for x in given(*drawn(12, seed)))
        sums = _power_sums(weights, quadratic, share * quartic, np.array([0]))
        assert float(_closed_form(sums)[0]) == pytest.approx(float(cubic_roots(sums)[0]), abs=1e-13)


def test_polish_restores_what_the_closed_form_cancels() -> None:
    sums = _power_sums(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([0.0, 1e-30]), np.array([0]))
    assert float(cubic_roots(sums)[0]) == pytest.approx(2e-30, rel=1e-12, abs=0)  # 2 x = 4e-30 (1 - x)^3


def test_the_root_without_a_quadratic_term() -> None:
    sums = _power_sums(np.array([-1.0, 1.0, 5.0]), np.zeros(3), np.array([1.0, 8.0, 0.0]), np.array([0]))
    assert float(cubic_roots(sums)[0]) == pytest.approx(1 / 3, abs=1e-15)  # x + 1 = -2 (x - 1)


@pytest.mark.parametrize("kind", ["plain", "weighted", "quartic"])
@pytest.mark.parametrize("distance", [0.0, 1e3])
def test_stationary_far_from_zero(kind: str, distance: float) -> None:
    weights, quadratic, quartic = drawn(3000, 0, kind)
    weights = weights + distance
    values, labels, _, _ = weighted_kmeans(weights, 8, quadratic, quartic)
    w, i, h = given(weights, quadratic, quartic)
    for j, value in enumerate(values):
        d, a, b = value - w[labels == j], i[labels == j], h[labels == j]
        terms = 2 * a * d + 4 * b * d**3
        # a rounding of the value itself, and of the sum
        floor = 2e-16 * (abs(value) * (2 * a + 12 * b * d**2).sum() + terms.abs().sum())
        assert abs(float(terms.sum())) <= 4 * float(floor)


def test_wild_importances_do_not_unsettle_a_cluster() -> None:
    weights = torch.tensor([0.0, 1.0, 10.0, 11.0], dtype=torch.float64)
    quartic = torch.tensor([1.0, 1e-18, 1e-18, 1.0], dtype=torch.float64)
    values = weighted_kmeans(weights, 2, torch.zeros(4), quartic).values
    # x^3 = 1e-18 (1 - x)^3
    expected = [1e-6 / (1 + 1e-6), 11 - 1e-6 / (1 + 1e-6)]
    assert values.tolist() == pytest.approx(expected, rel=1e-9)
    points = SortedWeights(weights.numpy(), np.zeros(4), quartic.numpy())
    assert lloyd(points, np.array([0.3, 10.7]), 2)[0].tolist() == pytest.approx(expected, rel=1e-9)


# The whole


@pytest.mark.parametrize("kind", ["plain", "weighted", "quartic"])
@pytest.mark.parametrize("clusters", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_few_weights_have_the_exact_optimum(kind: str, clusters: int, seed: int) -> None:
    case = drawn(18, seed, kind)
    found = weighted_kmeans(case[0], clusters, *case[1:])
    assert found.objective == pytest.approx(exact_cost(clusters, *case), rel=1e-9, abs=1e-15)
    assert found.objective == pytest.approx(cost(found.values[found.labels], *case), rel=1e-12)


@pytest.mark.parametrize("kind", ["plain", "weighted", "quartic"])
@pytest.mark.parametrize("seed", range(3))
def test_close_to_the_optimum_where_stretches_must_not_be_divided(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibsuite.compression.kmeans.STRETCHES", 5)
    case = drawn(40, seed, kind)
    exact = exact_cost(4, *case)
    assert exact * (1 - 1e-9) <= weighted_kmeans(case[0], 4, *case[1:]).objective <= 1.05 * exact


@pytest.mark.parametrize("kind", ["plain", "weighted", "quartic"])
def test_lloyd_alone_is_never_better_than_the_optimum(kind: str) -> None:
    for seed in range(5):
        case = drawn(24, seed, kind)
        points = SortedWeights(*(np.asarray(x) for x in given(*case)))
        exact = exact_cost(4, *case)
        for start in (np.linspace(-2, 2, 4), points.weights[[0, 1, 2, 3]], points.weights[[3, 9, 15, 21]]):
            values, _, trace = lloyd(points, start, 4)
            nearest = torch.from_numpy(values)[(case[0][:, None] - torch.from_numpy(values)).abs().argmin(1)]
            assert exact * (1 - 1e-9) <= cost(nearest, *case) <= trace[-1] * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["plain", "weighted", "quartic"])
@pytest.mark.parametrize("n", [50, 4 * BLOCK + 3])
def test_the_cost_never_grows_and_ends_where_nothing_moves(kind: str, n: int) -> None:
    case = drawn(n, 1, kind)
    points = SortedWeights(*(np.asarray(x) for x in given(*case)))
    for start in (points.weights[:8], np.linspace(-50, 60, 8), points.weights[:: n // 8][:8]):
        values, starts, trace = lloyd(points, start, 8)
        assert len(trace) > 1
        assert all(b <= a * (1 + 1e-13) for a, b in itertools.pairwise(trace))
        assert trace[0] > 1.05 * trace[-1]
        again, nearest = points.nearest(values)
        assert np.array_equal(again, starts)
        assert np.array_equal(nearest, values)
        first = points.weights[np.append(starts[1:], n) - 1]
        assert (points.weights[starts] <= values).all()
        assert (values <= first).all()


@pytest.mark.parametrize("kind", ["plain", "weighted", "quartic"])
def test_sums_by_blocks_are_sums(kind: str) -> None:
    points = SortedWeights(*(np.asarray(x) for x in given(*drawn(5 * BLOCK + 17, 2, kind))))
    draws = np.random.default_rng(0)
    for pieces in (1, 3, 40):
        starts = np.union1d([0], draws.integers(1, points.size, pieces - 1))
        values = points.weights[starts] + 0.1
        sums, direct = points.sums(starts, values), points.direct_sums(starts, values)
        size = np.abs(direct) + direct[[0, 0, 2, 3, 3, 5, 5, 7]]
        assert (np.abs(sums - direct) <= 1e-13 * size).all()


def test_golden_rule_of_weighted_kmeans_but_not_of_the_quartic() -> None:
    for kind in ("plain", "weighted", "quartic"):
        weights, quadratic, quartic = drawn(2000, 4, kind)
        values, labels, _, _ = weighted_kmeans(weights, 6, quadratic, quartic)
        moved = values[labels]
        terms = moved * given(weights, quadratic, quartic)[1] * (weights - moved)
        if kind == "quartic":
            assert abs(float(terms.sum())) > 1e-3 * float(terms.abs().sum())
        else:
            assert abs(float(terms.sum())) < 1e-14 * float(terms.abs().sum())


def test_values_scale_with_the_weights_and_importances_have_no_unit() -> None:
    weights, quadratic, quartic = drawn(700, 5)
    assert quadratic is not None
    assert quartic is not None
    values = weighted_kmeans(weights, 5, quadratic, quartic).values
    small = weighted_kmeans(weights / 64, 5, 2.0**-40 * quadratic, 2.0**-40 * 64**2 * quartic).values
    assert torch.allclose(64 * small, values, rtol=1e-12, atol=0)


# What has no importance


def test_weights_of_no_importance_have_no_say() -> None:
    weights, quadratic, _ = drawn(400, 6, "weighted")
    assert quadratic is not None
    matter = quadratic > 0
    extremes = torch.tensor([-100.0, 100.0], dtype=torch.float64)
    idle = torch.cat([weights, extremes])
    found = weighted_kmeans(idle, 4, torch.cat([quadratic, torch.zeros(2)]))
    alone = weighted_kmeans(weights[matter], 4, quadratic[matter])
    assert torch.allclose(found.values, alone.values, rtol=1e-12)
    assert found.labels[-2:].tolist() == [0, 3]
    nearest = (idle[:, None] - found.values).abs().argmin(1)
    assert torch.equal(found.labels, nearest)


def test_where_nothing_matters_means_are_plain() -> None:
    weights = torch.tensor([[0.0, 1.0, 2.0], [9.0, 10.0, 11.0]])
    found = weighted_kmeans(weights, 2, torch.zeros(2, 3))
    assert found.objective == 0
    assert found.values.tolist() == [1, 10]
    assert found.labels.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_fewer_weights_of_importance_than_clusters_have_a_value_each() -> None:
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = weighted_kmeans(weights, 3, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert (found.values.tolist(), found.labels.tolist(), found.objective) == ([2, 4], [0, 0, 1, 1], 0)


def test_as_many_values_as_different_weights_cost_nothing() -> None:
    weights = torch.tensor([3.0, 1.0, 1.0, 2.5, -7.0, 1e-3, 3.0])
    found = weighted_kmeans(weights, 5)
    assert found.objective == 0
    assert torch.equal(found.values[found.labels], weights.double())
    for start in (np.linspace(-7, 3, 5), np.linspace(100, 101, 5)):  # most of them begin without a weight
        flat = weights.double().numpy()
        values, _, _ = lloyd(SortedWeights(flat, np.ones(7), np.zeros(7)), start, 5)
        assert values.tolist() == sorted(set(flat.tolist()))


def test_plain_clusters_are_found() -> None:
    centres = torch.tensor([-1.0, -0.25, 0.5, 2.0, 40.0])
    weights = (centres[torch.arange(1000) % 5] + 0.01 * drawn(1000, 7)[0]).reshape(10, 100)
    found = weighted_kmeans(weights, 5, None, torch.ones(10, 100))
    assert found.values.tolist() == pytest.approx(centres.tolist(), abs=0.01)
    assert torch.equal(found.labels, (torch.arange(1000) % 5).reshape(10, 100))


def test_the_same_every_time_and_on_any_order() -> None:
    weights, quadratic, quartic = drawn(1500, 8)
    assert quadratic is not None
    assert quartic is not None
    once = weighted_kmeans(weights, 7, quadratic, quartic)
    again = weighted_kmeans(weights, 7, quadratic, quartic)
    assert torch.equal(once.values, again.values)
    assert once.trace == again.trace
    flipped = weighted_kmeans(weights.flip(0), 7, quadratic.flip(0), quartic.flip(0))
    assert torch.allclose(once.values, flipped.values, rtol=1e-12)
    assert torch.equal(once.labels.flip(0), flipped.labels)


def test_bad_input_is_named() -> None:
    weights = torch.tensor([1.0, 1.0, 2.0])
    for clusters in (0, 3):
        with pytest.raises(ValueError, match=f"2 different weights cannot fill {clusters} clusters"):
            weighted_kmeans(weights, clusters)
    with pytest.raises(ValueError, match="0 different weights"):
        weighted_kmeans(torch.empty(0), 1)
    with pytest.raises(ValueError, match="A weight that is not finite"):
        weighted_kmeans(torch.tensor([1.0, math.nan]), 1)
    with pytest.raises(ValueError, match="negative; quadratic"):
        weighted_kmeans(weights, 2, -weights)
    with pytest.raises(ValueError, match="too large together"):
        weighted_kmeans(1e200 * weights.double(), 1, None, weights)
