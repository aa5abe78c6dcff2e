"""Bounds from a critic's scores: known density ratios, finite differences, shares of a batch."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ibsuite.information import (
    NWJ,
    SMILE,
    Bound,
    DonskerVaradhan,
    InfoNCE,
    Kind,
    Mine,
    correlation_mi_bits,
    table_mi_bits,
)

COUNTS = torch.tensor([[6.0, 1.0, 2.0], [1.0, 8.0, 3.0]], dtype=torch.float64)
"""A table; a sample with exactly these counts, and all products, has exact expectations."""
BOUNDS: dict[str, Callable[[], Bound]] = {
    "dv": DonskerVaradhan,
    "mine": lambda: Mine(0.9),
    "nwj": NWJ,
    "infonce": InfoNCE,
    "smile": lambda: SMILE(1.0),
}


def log_ratio(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """Log density ratio of a pair of Gaussians with correlation rho."""
    quadratic = (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))
    return -0.5 * math.log(1 - rho**2) - quadratic


def gaussian_pairs(n: int, rho: float, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws[0], rho * draws[0] + math.sqrt(1 - rho**2) * draws[1]


def table_scores(critic: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of the table's joint sample and of its product sample."""
    rows, columns = COUNTS.sum(1), COUNTS.sum(0)
    flat = critic.flatten()
    joint = flat.repeat_interleave(COUNTS.flatten().long())
    return joint, flat.repeat_interleave(torch.outer(rows, columns).flatten().long())


def best_table_critic() -> Tensor:
    p = COUNTS / COUNTS.sum()
    return (p / torch.outer(p.sum(1), p.sum(0))).log()


def test_exact_expectations_give_exact_information() -> None:
    nats = table_mi_bits(COUNTS) * math.log(2)
    best = best_table_critic()
    for bound in (DonskerVaradhan(), Mine(), SMILE(math.inf), NWJ(0.0)):
        assert bound(*table_scores(best)).value == pytest.approx(nats, abs=1e-12)
    assert DonskerVaradhan()(*table_scores(best + 3)).value == pytest.approx(nats, abs=1e-12)
    assert NWJ()(*table_scores(best + 1)).value == pytest.approx(nats, abs=1e-12)
    assert NWJ()(*table_scores(best)).value < nats - 1e-3  # it does not normalise for itself


def test_no_other_critic_exceeds_the_truth_where_expectations_are_exact() -> None:
    nats, draws = table_mi_bits(COUNTS) * math.log(2), torch.Generator().manual_seed(0)
    for _ in range(20):
        critic = best_table_critic() + torch.randn(2, 3, generator=draws, dtype=torch.float64)
        dv, nwj = (bound(*table_scores(critic)).value for bound in (DonskerVaradhan(), NWJ(0.5)))
        assert nwj <= dv < nats
        tight = NWJ(float(table_scores(critic)[1].logsumexp(0)) - math.log(len(table_scores(critic)[1])))
        assert tight(*table_scores(critic)).value == pytest.approx(dv, abs=1e-12)


def averages(bound: Bound, shift: float, matrix: bool, rho: float, n: int) -> tuple[float, float]:
    """Mean and standard error over batches of n pairs under the best critic."""
    values = []
    for seed in range(400):
        x, y = gaussian_pairs(n, rho, seed)
        scores = log_ratio(x[:, None], y[None], rho) + shift
        off = scores[~torch.eye(n, dtype=torch.bool)]
        values.append(bound(scores.diagonal(), scores if matrix else off).value)
    values_ = torch.tensor(values)
    return float(values_.mean()), float(values_.std()) / math.sqrt(len(values))


def test_lower_bounds_lie_below_the_truth_on_average() -> None:
    rho = 0.7
    nats = correlation_mi_bits(torch.tensor(rho, dtype=torch.float64)) * math.log(2)
    mean, error = averages(NWJ(), 1.0, False, rho, 32)
    assert mean == pytest.approx(nats, abs=4 * error)  # unbiased at the optimum
    mean, error = averages(InfoNCE(), 0.0, True, rho, 32)
    assert mean < nats + 3 * error
    assert mean == pytest.approx(nats, abs=0.05)
    mean, error = averages(InfoNCE(), 0.0, True, 0.999, 8)
    assert math.log(8) - 0.5 < mean < math.log(8)


def test_donsker_varadhan_is_unbiased_at_the_optimum_for_many_pairs_and_too_large_for_few() -> None:
    rho = 0.7
    nats = correlation_mi_bits(torch.tensor(rho, dtype=torch.float64)) * math.log(2)
    mean, error = averages(DonskerVaradhan(), 0.0, False, rho, 100)
    assert mean == pytest.approx(nats, abs=4 * error + 0.005)
    # Of few pairs the logarithm is too small on average: why the value is called a plug-in.
    excess = []
    for seed in range(400):
        x, y = gaussian_pairs(4, 0.9, seed)
        scores = log_ratio(x[:, None], y, 0.9)
        value = DonskerVaradhan()(scores.diagonal(), scores[~torch.eye(4, dtype=torch.bool)]).value
        excess.append(value - float(scores.diagonal().mean()))  # E of the joint part is the truth
    assert sum(excess) / 400 > 3 * float(torch.tensor(excess).std()) / 20 > 0


def test_clipping_nothing_is_donsker_varadhan() -> None:
    x, y = gaussian_pairs(50, 0.8, seed=0)
    scores = log_ratio(x[:, None], y[None], 0.8)
    joint, product = scores.diagonal(), scores.flatten()
    dv = DonskerVaradhan()(joint, product).value
    assert SMILE(math.inf)(joint, product).value == SMILE(1e6)(joint, product).value
    assert SMILE(math.inf)(joint, product).value == pytest.approx(dv, abs=1e-12)
    assert SMILE(0.5)(joint, product).value != pytest.approx(dv, abs=1e-2)


def test_the_gradient_of_smile_does_not_depend_on_tau_and_vanishes_at_the_log_ratio() -> None:
    shift = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    for tau in (0.1, math.inf):
        objective = SMILE(tau)(*table_scores(best_table_critic() + shift)).objective
        (gradient,) = torch.autograd.grad(objective, shift)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


def scored(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A critic with three parameters, on all pairs."""
    matrix = theta[0] * x[:, None] * y + theta[1] * (x[:, None] - y).square() + theta[2] * y.sin()
    return matrix.diagonal(), matrix


@pytest.mark.parametrize("name", ["dv", "nwj", "infonce"])
def test_gradients_against_finite_differences(name: str) -> None:
    x, y = gaussian_pairs(20, 0.6, seed=1)
    theta = torch.tensor([0.7, -0.3, 0.4], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(BOUNDS[name]()(*scored(theta, x, y)).objective, theta)
    for i in range(3):
        step = 1e-5 * torch.eye(3, dtype=torch.float64)[i]
        up, down = (BOUNDS[name]()(*scored(theta.detach() + s, x, y)).value for s in (step, -step))
        assert float(gradient[i]) == pytest.approx((up - down) / 2e-5, abs=1e-7)


def test_the_corrected_gradient_of_small_batches_is_that_of_all_data() -> None:
    """Finite differences of the full value; the plain gradient of the same batches misses it."""
    x, y = gaussian_pairs(60, 0.9, seed=2)
    shuffled = y.roll(7)
    theta = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)

    def critic(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return t[0] * a * b + t[1] * (a - b).square() + t[2] * b.sin()

    def full(t: Tensor) -> float:
        return DonskerVaradhan()(critic(t, x, y), critic(t, x, shuffled)).value

    steps = 1e-5 * torch.eye(3, dtype=torch.float64)
    wanted = torch.tensor([(full(theta + s) - full(theta - s)) / 2e-5 for s in steps])

    def average(bound: Bound) -> Tensor:
        total = torch.zeros(3, dtype=torch.float64)
        for part in torch.arange(60).split(4):
            t = theta.clone().requires_grad_()
            value = bound(critic(t, x[part], y[part]), critic(t, x[part], shuffled[part]))
            total += torch.autograd.grad(value.objective, t)[0] / 15
        return total

    mine = Mine(decay=1 - 1e-9)
    mine(critic(theta, x, y), critic(theta, x, shuffled))  # the first batch sets the running mean
    torch.testing.assert_close(average(mine), wanted.double(), atol=1e-6, rtol=0)
    assert float((average(DonskerVaradhan()) - wanted).norm() / wanted.norm()) > 0.05


def test_the_running_mean_is_one_and_only_training_moves_it() -> None:
    mine, zero = Mine(decay=0.5), torch.zeros(3)
    mine(zero, zero + math.log(2))
    mine(zero, zero + math.log(4))
    assert float(mine.log_denominator.exp()) == pytest.approx(3.0)
    with torch.no_grad():
        mine(zero, zero + 10)
    assert float(mine.log_denominator.exp()) == pytest.approx(3.0)
    other = Mine(decay=0.5)
    other.load_state_dict(mine.state_dict())
    assert other.log_denominator == mine.log_denominator


@pytest.mark.parametrize("sizes", [(24,), (12, 12), (1, 5, 18), (7, 2, 3, 12)])
@pytest.mark.parametrize("name", BOUNDS)
def test_a_batch_in_shares_has_the_value_and_gradient_of_the_whole(name: str, sizes: tuple[int, ...]) -> None:
    """Shares of different sizes, two batches in a row, so that MINE's running mean counts as well."""
    whole, shares = BOUNDS[name](), [BOUNDS[name]() for _ in sizes]
    for seed in (3, 4):
        x, y = gaussian_pairs(24, 0.8, seed)
        theta = torch.tensor([0.7, -0.3, 0.4], dtype=torch.float64, requires_grad=True)
        joint, product = scored(theta, x, y)
        expected = whole(joint, product)
        (wanted,) = torch.autograd.grad(expected.objective, theta)
        heard: list[Tensor] = []

        def listen(sums: Tensor, heard: list[Tensor] = heard) -> Tensor:
            heard.append(sums)
            return sums[None]

        rows = torch.arange(24).split(list(sizes))
        with torch.no_grad():
            for part in rows:
                BOUNDS[name]()(joint[part], product[part], gather=listen)
        everything, total = torch.stack(heard), torch.zeros(3, dtype=torch.float64)
        for share, part in zip(shares, rows, strict=True):
            again, scores = scored(theta, x, y)
            got = share(again[part], scores[part], gather=lambda _, every=everything: every)
            assert got.value == pytest.approx(expected.value, abs=1e-12)
            assert got[1:] == expected[1:]
            total += torch.autograd.grad(got.objective, theta)[0]
        torch.testing.assert_close(total, wanted, atol=1e-12, rtol=1e-12)


def test_the_mean_of_values_of_shares_is_not_the_value_of_the_whole() -> None:
    """Planted violation: a log-mean-exp over each share alone."""
    x, y = gaussian_pairs(24, 0.8, seed=3)
    joint, product = scored(torch.tensor([2.0, 0.5, 0.4], dtype=torch.float64), x, y)
    parts = [DonskerVaradhan()(joint[i], product[i]).value for i in torch.arange(24).split(6)]
    assert abs(sum(parts) / 4 - DonskerVaradhan()(joint, product).value) > 1e-2


def test_scores_that_no_exponential_survives() -> None:
    joint, product = torch.full((4,), 2000.0), torch.linspace(-3000, 1000, 9)
    assert DonskerVaradhan()(joint, product).value == pytest.approx(2000 - 1000 + math.log(9))
    assert NWJ(1000.0)(joint, product).value == pytest.approx(2000 - 1 / 9 - 1000 + 1)


def test_a_freely_scaled_critic_on_few_pairs_is_not_certified() -> None:
    """Planted violation: nothing is shared by x and y, and a value far over the truth is read off."""
    x, y = gaussian_pairs(8, 0.0, seed=5)
    matching = torch.where(torch.eye(8, dtype=torch.bool), 50.0, 0.0)  # it knows the eight pairs by heart
    joint, off = matching.diagonal(), matching[~torch.eye(8, dtype=torch.bool)]
    for bound in (DonskerVaradhan(), NWJ(0.0), Mine()):
        value = bound(joint, off)
        assert value.value == pytest.approx(50)
        assert value.marginal_pairs == 56
        assert not value.certified
    capped = InfoNCE()(joint, matching)
    assert capped.value == pytest.approx(math.log(8))
    assert capped.certified
    honest = DonskerVaradhan()(log_ratio(x, y, 0.3), log_ratio(x, y.roll(1), 0.3))
    assert honest.certified


def test_kinds() -> None:
    kinds = {name: make().kind for name, make in BOUNDS.items()}
    assert [name for name, kind in kinds.items() if kind is Kind.LOWER] == ["nwj", "infonce"]
    assert Kind.UPPER not in kinds.values()


def test_what_has_no_value_is_refused() -> None:
    scores = torch.zeros(3)
    with pytest.raises(ValueError, match="joint scores"):
        DonskerVaradhan()(torch.zeros(3, 3), scores)
    with pytest.raises(ValueError, match="joint scores"):
        NWJ()(scores, torch.zeros(0))
    with pytest.raises(ValueError, match="candidates"):
        InfoNCE()(scores, scores)
    with pytest.raises(ValueError, match="tau"):
        SMILE(0.0)
    with pytest.raises(ValueError, match="decay"):
        Mine(1.0)
