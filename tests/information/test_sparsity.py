"""Local minima of a quadratic loss with priced gates, against brute force, differences and other prices."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ibsuite.information import GatedQuadratic, LocalMinimum, find_local_minimum

Array = NDArray[np.float64]


def problem(rank: int, units: int, gamma: float, seed: int, outside: float = 0.0) -> GatedQuadratic:
    """Random columns, and a linear term in the range of A' but for a share ``outside``."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rank, units))
    unseen = rng.standard_normal(units)
    unseen -= np.linalg.pinv(a) @ (a @ unseen)
    return GatedQuadratic(a, 2 * a.T @ rng.standard_normal(rank) + outside * unseen, gamma, c=0.7)


def minima(some: GatedQuadratic, starts: int, seed: int = 0) -> list[LocalMinimum]:
    rng = np.random.default_rng(seed)
    scales = itertools.cycle([0.01, 1.0, 10.0])
    return [find_local_minimum(some, next(scales) * rng.standard_normal(len(some.b))) for _ in range(starts)]


def test_closed_form_against_monte_carlo() -> None:
    some, rng = problem(2, 4, 0.3, seed=1), np.random.default_rng(0)
    mu, variance = rng.standard_normal(4), rng.uniform(0.1, 2, 4)
    z = mu + np.sqrt(variance) * rng.standard_normal((400_000, 4))
    loss = np.square(z @ some.a.T).sum(1) + z @ some.b + some.c
    rate = 0.15 * np.log(1 + mu**2 / variance).sum()
    error = loss.std() / math.sqrt(len(loss))
    assert some.objective(mu, variance) == pytest.approx(loss.mean() + rate, abs=4 * error)
    without_noise = np.square(some.a @ mu).sum() + some.b @ mu + some.c + rate
    assert abs(some.objective(mu, variance) - without_noise) > 20 * error  # the test can fail


@pytest.mark.parametrize("gamma", [1e-4, 0.1, 30.0])
def test_best_variance_and_price_against_brute_force(gamma: float) -> None:
    some = problem(3, 5, gamma, seed=2)
    mu = np.array([-3.0, 0.2, 1e-3, 1.0, 40.0])
    best, q = some.best_variance(mu), some.curvatures
    np.testing.assert_allclose(best**2 + best * mu**2, gamma * mu**2 / (2 * q), rtol=1e-12)
    factors = np.exp(np.linspace(-3, 3, 60_001))[:, None]
    brackets = q * best * factors + gamma / 2 * np.log1p(mu**2 / (best * factors))
    np.testing.assert_allclose(factors[brackets.argmin(0), 0], 1.0, atol=2e-4)
    np.testing.assert_allclose(some.price(mu), brackets.min(0), rtol=1e-7)
    assert some.profile(mu) == pytest.approx(some.objective(mu, best), rel=1e-12)


def test_the_price_rises_is_concave_and_has_a_kink() -> None:
    some = GatedQuadratic(np.array([[2.0]]), np.zeros(1), gamma=0.5)
    m = np.linspace(0, 5, 2001)
    price = np.array([float(some.price(np.array([x]))[0]) for x in m])
    assert price[0] == 0
    assert (np.diff(price) > 0).all()
    assert (np.diff(price, 2) < 0).all()
    assert price[1] / m[1] == pytest.approx(some.kinks[0], rel=0.01)
    large = 1e8
    expected = 0.25 + 0.5 * math.log(2 * large / math.sqrt(0.25))
    assert some.price(np.array([large]))[0] == pytest.approx(expected, rel=1e-12)


def test_gradient_and_hessian_against_differences() -> None:
    some, h = problem(2, 5, 0.2, seed=3), 1e-6
    mu = np.array([0.4, -1.2, 0.0, 2.0, -0.05])
    for k, j in enumerate(np.flatnonzero(mu)):
        step = np.eye(5)[j] * h
        slope = (some.profile(mu + step) - some.profile(mu - step)) / (2 * h)
        assert some.gradient(mu)[j] == pytest.approx(slope, abs=1e-7)
        curvature = (some.gradient(mu + step) - some.gradient(mu - step))[mu != 0] / (2 * h)
        np.testing.assert_allclose(some.hessian(mu)[k], curvature, atol=1e-6)
    smooth = (some.profile(mu + np.eye(5)[2] * h) - some.profile(mu - np.eye(5)[2] * h)) / (2 * h)
    assert some.gradient(mu)[2] == pytest.approx(smooth, abs=1e-7)  # the kink cancels in the difference


@pytest.mark.parametrize(("b", "gamma"), [(3.0, 0.1), (-3.0, 0.1), (0.5, 0.1), (1e-3, 2.0)])
def test_one_unit_has_a_closed_form_that_a_grid_confirms(b: float, gamma: float) -> None:
    some = GatedQuadratic(np.array([[0.6], [0.8]]), np.array([b]), gamma)
    found = find_local_minimum(some, np.array([5.0]))
    expected = -math.copysign(max(0.0, abs(b) / 2 - gamma / abs(b)), b)
    assert found.mu[0] == pytest.approx(expected, abs=1e-12)
    grid = np.linspace(-3, 3, 6001)
    assert grid[np.argmin([some.profile(np.array([x])) for x in grid])] == pytest.approx(expected, abs=1e-3)


def test_the_best_of_many_descents_is_the_least_value_on_a_grid() -> None:
    some = problem(1, 2, 0.2, seed=5)
    grid = np.linspace(-3, 3, 601)
    x, y = np.meshgrid(grid, grid)
    loss = (some.a[0, 0] * x + some.a[0, 1] * y) ** 2 + some.b[0] * x + some.b[1] * y + some.c
    price = np.array([some.price(np.full(2, m)) for m in grid])
    least = (loss + price[None, :, 0] + price[:, None, 1]).min()
    best = min(found.value for found in minima(some, 20))
    assert best <= least <= best + 1e-3


def check_local_minimum(some: GatedQuadratic, found: LocalMinimum, rng: np.random.Generator) -> None:
    """Derivatives, and the joint objective at means and variances around."""
    assert found.slope < 1e-9
    assert found.least_curvature > 0
    assert found.slack >= 0
    assert ((found.variance > 0) == (found.mu != 0)).all()
    assert found.value == pytest.approx(some.profile(found.mu), rel=1e-9)
    for size in (1e-3, 1e-2):
        for _ in range(20):
            mu = found.mu + size * found.least_curvature * rng.standard_normal(len(found.mu))
            variance = some.best_variance(mu) * np.exp(size * rng.standard_normal(len(mu)))
            assert some.objective(mu, variance) > found.value


@pytest.mark.parametrize("gamma", [1e-3, 0.1])
@pytest.mark.parametrize("rank", [3, 5, 8])
def test_a_local_minimum_keeps_no_more_units_than_the_rank(rank: int, gamma: float) -> None:
    some, rng = problem(rank, 40, gamma, seed=rank), np.random.default_rng(1)
    found = minima(some, 12)
    for each in found:
        check_local_minimum(some, each, rng)
    assert some.rank == rank
    assert 0 < max(each.kept for each in found) <= rank
    if gamma < 0.01:
        assert len({tuple(np.flatnonzero(each.mu)) for each in found}) > 1  # really different minima


def test_other_prices_keep_every_unit() -> None:
    """Planted violation: a ridge, and no price at all, do not remove anything."""
    some, rng = problem(5, 40, 0.1, seed=0), np.random.default_rng(2)
    q = some.a.T @ some.a
    ridge = np.linalg.solve(2 * q + 0.1 * np.eye(40), -some.b)
    start = rng.standard_normal(40)
    nothing = start - np.linalg.pinv(2 * q) @ (2 * q @ start + some.b)  # where gradient descent ends
    for mu in (ridge, nothing):
        assert np.count_nonzero(np.abs(mu) > 1e-6) == 40 > some.rank + 1
    np.testing.assert_allclose(2 * q @ nothing, -some.b, atol=1e-9)
    assert all(each.kept <= some.rank for each in minima(some, 5))


def test_the_rank_is_attained_and_the_units_are_independent() -> None:
    rng = np.random.default_rng(0)
    a = np.concatenate([np.eye(4), 0.02 * rng.standard_normal((4, 20))], axis=1)
    some = GatedQuadratic(a, a.T @ np.array([3.0, -2.0, 4.0, -5.0]), gamma=1e-3)
    found = minima(some, 20)
    assert max(each.kept for each in found) == 4 == some.rank
    for each in found:
        assert np.linalg.matrix_rank(a[:, each.mu != 0]) == each.kept


def test_twins_do_not_share_their_work() -> None:
    """Two equal columns from where all derivatives are zero without rounding, a saddle: one has to go."""
    some, saddle = GatedQuadratic(np.ones((1, 2)), np.full(2, -3.5), gamma=0.5), np.full(2, 0.75)
    assert (some.gradient(saddle) == 0).all()
    found = find_local_minimum(some, saddle)
    assert sorted(found.mu != 0) == [False, True]
    assert found.mu.max() == pytest.approx(1.75 - 0.5 / 3.5, abs=1e-12)


def test_a_high_price_removes_everything() -> None:
    some = problem(4, 10, 1e4, seed=0)
    found = find_local_minimum(some, np.ones(10))
    assert (found.kept, found.value) == (0, some.c)


def test_training_by_gradients_ends_within_the_bound() -> None:
    """Adam on means and log variances, as a network is trained; a unit is gone where its alpha is huge."""
    some, draws = problem(3, 12, 0.1, seed=4), torch.Generator().manual_seed(0)
    a, b = torch.from_numpy(some.a), torch.from_numpy(some.b)
    mu = torch.randn(12, generator=draws, dtype=torch.float64).requires_grad_()
    log_variance = torch.full((12,), -4.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([mu, log_variance], lr=0.02)
    for _ in range(1500):
        noise = a.square().sum(0) @ log_variance.exp()
        rate = torch.log1p(mu.square() / log_variance.exp()).sum()
        loss = (a @ mu).square().sum() + noise + b @ mu + some.c + some.gamma / 2 * rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    signal_to_noise = (mu.square() / log_variance.exp()).detach().numpy()
    kept = signal_to_noise > 0.1
    assert 0 < kept.sum() <= some.rank
    # A descent from there keeps the same units and gains next to nothing.
    found = find_local_minimum(some, np.where(kept, mu.detach().numpy(), 0.0))
    assert ((found.mu != 0) == kept).all()
    assert found.value == pytest.approx(float(loss.detach()), abs=0.02)


def test_a_linear_term_that_the_quadratic_does_not_see() -> None:
    """Little of it leaves local minima, within the same bound; a lot leaves none."""
    little, rng = problem(5, 40, 0.1, seed=0, outside=0.01), np.random.default_rng(0)
    found = find_local_minimum(little, np.zeros(40))
    check_local_minimum(little, found, rng)
    assert 0 < found.kept <= 5
    some = problem(5, 40, 0.1, seed=0, outside=3.0)
    with pytest.raises(ValueError, match="not in the range"):
        find_local_minimum(some, np.ones(40))
    unseen = some.b - np.linalg.pinv(some.a) @ (some.a @ some.b)
    assert some.profile(-1e6 * unseen) < some.profile(-1e3 * unseen) < some.profile(-unseen)


def test_the_rule_of_the_program_removes_more_than_the_zeros() -> None:
    """A unit with 0 < mu^2 < gamma / (4 q) is kept by the minimum and has more noise than signal."""
    gamma = 0.5
    border = math.sqrt(gamma / 4)
    for factor in (0.9, 1.1):
        m = factor * border
        some = GatedQuadratic(np.eye(1), np.array([-m - math.sqrt(m**2 + 2 * gamma)]), gamma)
        found = find_local_minimum(some, np.ones(1))
        assert found.mu[0] == pytest.approx(m, abs=1e-12)
        assert (found.variance[0] / found.mu[0] ** 2 > 1) == (factor < 1)


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="column 1"):
        GatedQuadratic(np.array([[1.0, 0.0]]), np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="gamma"):
        GatedQuadratic(np.eye(2), np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="one entry a column"):
        GatedQuadratic(np.eye(2), np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="start"):
        find_local_minimum(GatedQuadratic(np.eye(2), np.zeros(2), 1.0), np.ones(3))
