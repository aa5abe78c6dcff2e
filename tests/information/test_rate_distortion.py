"""R(D) of linear models against grids, an optimiser, samples and each other."""

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from ibsuite.information import (
    WaterFilling,
    entropy_bound_bits,
    entropy_coded_uniform,
    gaussian_mi_bits,
    gaussian_rate_bits,
    gaussian_test_channel,
    linear_rate_bits,
    linear_rate_bound_bits,
)

STEEP = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
"""Importances and variances of the worked example."""
UNIFORM_GAP = 0.5 * math.log2(2 * math.pi * math.e / 12)


def draws(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.05


def random_covariance(size: int, seed: int) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T / size + 0.05 * torch.eye(size, dtype=torch.float64)


def test_one_gaussian_number() -> None:
    bits = gaussian_rate_bits(4.0, torch.tensor([1 / 64, 1.0, 4.0, 9.0]))
    torch.testing.assert_close(bits, torch.tensor([4.0, 1.0, 0.0, 0.0]).double())
    assert float(gaussian_rate_bits(0.0, 1.0)) == 0.0
    torch.testing.assert_close(
        bits[:2], WaterFilling(torch.ones(1), torch.tensor([4.0])).rate_bits(torch.tensor([1 / 64, 1.0]))
    )


def test_the_worked_example() -> None:
    filling = WaterFilling(STEEP, STEEP)
    points = filling.break_points
    assert points.distortion.tolist() == pytest.approx([3, 9, 14])
    assert points.rate_bits.tolist() == pytest.approx([math.log2(6), math.log2(1.5), 0], abs=1e-12)
    assert points.rate_bits.tolist() == pytest.approx([2.585, 0.585, 0], abs=5e-4)
    torch.testing.assert_close(filling.rate_bits(points.distortion), points.rate_bits)
    assert filling.mu(torch.tensor([1.5, 3, 6, 9, 14, 20])).tolist() == [0.5, 1, 2.5, 4, 9, 9]
    expected = torch.tensor([[1 / 6, 0.25, 0.5], [2.5 / 3, 1.25, 1], [3, 2, 1]], dtype=torch.float64)
    torch.testing.assert_close(filling.levels(torch.tensor([1.5, 6, 15])), expected)
    assert filling.rate_bits(torch.tensor([14, 15, math.inf])).tolist() == [0, 0, 0]
    assert float(filling.rate_bits(13.999999)) > 0


def test_many_weights_and_many_distortions_at_once() -> None:
    importance, variance = draws(0, 100_000), draws(1, 100_000)
    importance[:10], variance[10:20] = 0.0, 0.0
    importance[20:30], variance[20:30] = 0.5, 0.5  # ties
    filling = WaterFilling(importance, variance)
    top = float((importance * variance).sum())
    d = top * torch.logspace(-6, 0, 8, dtype=torch.float64).reshape(2, 4) * (1 - 1e-9)
    levels = filling.levels(d)
    torch.testing.assert_close((importance * levels).sum(-1), d, rtol=1e-10, atol=0.0)
    torch.testing.assert_close(
        levels, torch.minimum(filling.mu(d)[..., None] / importance, variance), rtol=1e-12, atol=0.0
    )
    known = variance > 0
    direct = 0.5 * (variance / levels)[..., known].log2().sum(-1)
    torch.testing.assert_close(filling.rate_bits(d), direct, rtol=1e-10, atol=1e-6)
    for each, bits in zip(d.flatten(), filling.rate_bits(d).flatten(), strict=True):
        assert float(filling.rate_bits(float(each))) == float(bits)


def test_the_slope_of_the_curve_is_that_of_the_water() -> None:
    # dR / dD = -1 / (2 mu), in nats: the multiplier of the constraint.
    filling = WaterFilling(draws(2, 50), draws(3, 50))
    d = torch.linspace(0.05, 11, 40, dtype=torch.float64)
    step = 1e-5
    slope = (filling.rate_bits(d + step) - filling.rate_bits(d - step)) * math.log(2) / (2 * step)
    torch.testing.assert_close(slope, -0.5 / filling.mu(d), rtol=1e-6, atol=1e-9)


def test_weights_that_do_not_matter_or_do_not_vary_are_left_out() -> None:
    importance, variance = torch.tensor([0.0, 2.0, 5.0, 1.0]), torch.tensor([7.0, 3.0, 0.0, 1.0])
    filling, rest = WaterFilling(importance, variance), WaterFilling(importance[[1, 3]], variance[[1, 3]])
    assert filling.levels(1.0).tolist() == [7.0, 0.25, 0.0, 0.5]
    assert float(filling.rate_bits(1.0)) == float(rest.rate_bits(1.0)) > 0
    assert len(filling.break_points.distortion) == 2
    nothing = WaterFilling(torch.zeros(2), torch.ones(2))
    assert nothing.levels(torch.tensor([0.1, 5.0])).tolist() == [[1, 1], [1, 1]]
    assert nothing.rate_bits(torch.tensor([0.1, 5.0])).tolist() == [0, 0]
    assert float(nothing.mu(0.1)) == len(nothing.break_points.rate_bits) == 0
    # The same in a covariance: what is left is that of the other weights.
    s = random_covariance(4, seed=4)
    s[2], s[:, 2] = 0.0, 0.0
    for bits in (linear_rate_bound_bits, linear_rate_bits):
        small = bits(importance[[1, 3]], s[[1, 3]][:, [1, 3]], 0.05)
        assert float(bits(importance, s, 0.05)) == pytest.approx(float(small), rel=1e-9)
        assert float(small) > 1


def test_theorem_2_is_the_least_of_lemma_1_on_a_grid() -> None:
    importance, s = torch.tensor([3.0, 1.0, 0.5]).double(), random_covariance(3, seed=5)
    parts = torch.cartesian_prod(torch.arange(1, 400), torch.arange(1, 400)).double() / 400
    parts = parts[parts.sum(1) < 1 - 1e-9]
    shares = torch.cat([parts, 1 - parts.sum(1, keepdim=True)], 1)  # of D, to each weight
    for d in (0.1, 0.3):
        bits = entropy_bound_bits(s, d * shares / importance)
        bound = float(linear_rate_bound_bits(importance, s, d))
        assert bound > 0
        assert bound <= float(bits.min()) + 1e-12
        assert bound == pytest.approx(float(bits.min()), abs=1e-3)
        levels = WaterFilling(importance, s.diagonal()).levels(d)
        assert bound == pytest.approx(float(entropy_bound_bits(s, levels)), rel=1e-12)


def test_theorem_2_is_the_least_of_lemma_1_for_an_optimiser() -> None:
    importance, variance = draws(6, 6), draws(7, 6)
    d = 0.85 * float((importance * variance).sum())

    def bits(logs: np.ndarray) -> float:
        return float(entropy_bound_bits(variance, torch.from_numpy(np.exp(logs))))

    def room(logs: np.ndarray) -> float:
        return d - float(importance.numpy() @ np.exp(logs))

    start = np.log(np.full(6, d / float(importance.sum())))
    found = optimize.minimize(
        bits, start, method="SLSQP", constraints={"type": "ineq", "fun": room}, options={"ftol": 1e-10}
    )
    filling = WaterFilling(importance, variance)
    full = filling.levels(d) == variance
    assert 0 < int(full.sum()) < 6  # both branches take part
    assert found.fun == pytest.approx(float(filling.rate_bits(d)), abs=1e-4)
    assert bits(start) > found.fun + 0.05


def test_correlated_weights_need_more_than_the_bound() -> None:
    s = torch.tensor([[1, 0.9], [0.9, 1]], dtype=torch.float64)
    ones = torch.ones(2)
    assert float(linear_rate_bits(ones, s, 1.0)) == pytest.approx(0.5 * math.log2(1.9 / 0.9), rel=1e-12)
    assert float(linear_rate_bits(ones, s, 1.0)) == pytest.approx(0.54, abs=0.005)
    uncut = entropy_bound_bits(s, WaterFilling(ones, ones).levels(1.0))
    assert float(uncut) == pytest.approx(-0.20, abs=0.005)
    assert float(linear_rate_bound_bits(ones, s, 1.0)) == 0.0
    for seed in range(5):
        s, importance = random_covariance(5, seed), draws(seed, 5)
        d = torch.logspace(-4, 1, 30, dtype=torch.float64)
        exact, bound = linear_rate_bits(importance, s, d), linear_rate_bound_bits(importance, s, d)
        assert bool((bound <= exact + 1e-9).all())
        assert float(bound[0]) == pytest.approx(float(exact[0]), rel=1e-9)  # no rectangle is full
        assert float((exact - bound).max()) > 0.1


def test_independent_weights_reach_the_bound_in_any_coordinates() -> None:
    importance, variance = draws(8, 6), draws(9, 6)
    d = torch.tensor([0.01, 0.3, 1.0, 9.0])
    bits = linear_rate_bound_bits(importance, variance, d)
    torch.testing.assert_close(linear_rate_bits(importance, variance, d), bits)
    torch.testing.assert_close(linear_rate_bound_bits(importance, variance.diag(), d), bits)
    turn = torch.linalg.qr(random_covariance(6, seed=10)).Q
    s_x, s_w = turn @ importance.diag() @ turn.T, turn @ variance.diag() @ turn.T
    torch.testing.assert_close(linear_rate_bits(s_x, s_w, d), bits)
    torch.testing.assert_close(linear_rate_bits(importance.diag(), variance, d), bits)


def test_the_exact_rate_is_that_of_a_gaussian_channel() -> None:
    # W_hat = E[W | A W + noise] for the best such channel: its error and its information, from covariances.
    s_x, s_w = random_covariance(4, seed=11), random_covariance(4, seed=12)
    values, vectors = torch.linalg.eigh(s_x)
    root = vectors @ values.sqrt().diag() @ vectors.T
    spectrum, basis = torch.linalg.eigh(root @ s_w @ root)
    filling = WaterFilling(torch.ones(4), spectrum)
    d = 0.5 * float(spectrum.sum())
    levels = filling.levels(d)
    back = torch.linalg.solve(root, basis)
    error = back @ levels.diag() @ back.T  # of W - W_hat
    assert float((s_x * error).sum()) == pytest.approx(d, rel=1e-9)
    assert float(torch.linalg.eigvalsh(s_w - error)[0]) > -1e-9  # a covariance is left for W_hat
    bits = 0.5 * (torch.logdet(s_w) - torch.logdet(error)) / math.log(2)
    assert float(linear_rate_bits(s_x, s_w, d)) == pytest.approx(float(bits), rel=1e-9)


def test_singular_covariances() -> None:
    s = torch.ones(2, 2).double()  # the same weight twice
    assert float(linear_rate_bound_bits(torch.ones(2), s, 0.01)) == 0.0
    once = gaussian_rate_bits(2.0, 0.01)
    torch.testing.assert_close(linear_rate_bits(torch.ones(2), s, 0.01), once)
    torch.testing.assert_close(linear_rate_bits(s, torch.ones(2), 0.01), once)
    for seed in range(5):  # five directions of eight: the same model in eight and in five coordinates
        basis = torch.linalg.qr(random_covariance(8, seed)).Q[:, :5]
        small, importance = random_covariance(5, seed), random_covariance(8, seed + 5)
        bits = linear_rate_bits(importance, basis @ small @ basis.T, 1e-6)
        torch.testing.assert_close(bits, linear_rate_bits(basis.T @ importance @ basis, small, 1e-6))


Compressor = Callable[[Tensor, Tensor, Tensor, float, torch.Generator], Tensor]


def meets(compress: Compressor, d: float) -> tuple[bool, bool]:
    """Whether 100,000 models have distortion D and information R(D), each within four standard errors.

    That of the information, sqrt(sum_i rho_i^2 / n) nats, is about 0.01 bit here.
    """
    n, importance, variance = 100_000, draws(13, 5), 3 * draws(14, 5)
    g = torch.Generator().manual_seed(0)
    w = variance.sqrt() * torch.randn(n, 5, generator=g, dtype=torch.float64)
    w_hat = compress(w, importance, variance, d, g)
    errors = ((w - w_hat).square() * importance).sum(1)
    close = abs(float(errors.mean()) - d) < 4 * float(errors.std()) / math.sqrt(n)
    filling = WaterFilling(importance, variance)
    rho_squared = 1 - filling.levels(d) / variance
    error_bits = math.sqrt(float(rho_squared.sum()) / n) / math.log(2)
    sent = w_hat[:, w_hat.std(0) > 0]
    bits = gaussian_mi_bits(torch.cat([w, sent], 1).T.cov(), 5) if sent.numel() else 0.0
    return close, abs(bits - float(filling.rate_bits(d))) < 4 * error_bits + 1e-9


def inverted(w: Tensor, importance: Tensor, variance: Tensor, d: float, generator: torch.Generator) -> Tensor:
    """Algorithm 1 as printed: what is not full becomes zero."""
    levels = WaterFilling(importance, variance).levels(d)
    w_hat = gaussian_test_channel(w, importance, variance, d, generator)
    return torch.where(levels < variance, 0.0, w_hat)


def noise_on_top(
    w: Tensor, importance: Tensor, variance: Tensor, d: float, generator: torch.Generator
) -> Tensor:
    """W_hat = W + Z instead of W = W_hat + Z: the right distortion, for too many bits."""
    levels = WaterFilling(importance, variance).levels(d)
    return w + levels.sqrt() * torch.randn(w.shape, generator=generator, dtype=torch.float64)


def test_the_compressor_reaches_the_bound() -> None:
    assert meets(gaussian_test_channel, 0.3) == (True, True)  # no rectangle is full
    assert meets(gaussian_test_channel, 3.0) == (True, True)
    assert meets(inverted, 3.0) == meets(inverted, 0.3) == (False, False)
    assert meets(noise_on_top, 3.0) == (True, False)


def test_a_full_rectangle_sends_nothing() -> None:
    g = torch.Generator().manual_seed(1)
    w_hat = gaussian_test_channel(torch.randn(1000, 3, generator=g), STEEP, STEEP, 6.0, g)
    assert (w_hat.std(0) > 0).tolist() == [True, True, False]
    assert float(w_hat[:, 2].abs().max()) == 0.0
    assert float(gaussian_test_channel(torch.ones(1, 3), STEEP, STEEP, 20.0, g).abs().max()) == 0.0


def test_uniform_quantisation_is_a_quarter_of_a_bit_above_the_bound() -> None:
    importance, variance = draws(15, 200), draws(16, 200)
    g = torch.Generator().manual_seed(2)
    w = variance.sqrt() * torch.randn(400, 200, generator=g, dtype=torch.float64)
    filling, gaps = WaterFilling(importance, variance), []
    for size in (0.002, 0.1, 1.0, 3.0):
        code = entropy_coded_uniform(w, variance, size / importance.sqrt())
        d = float(((w - code.weights).square() * importance).sum(1).mean())
        active = int((filling.levels(d) < variance).sum())
        gaps.append((float(code.bits.sum(1).mean()) - float(filling.rate_bits(d))) / max(active, 1))
    assert pytest.approx(0.2546, abs=1e-4) == UNIFORM_GAP
    # 80,000 lengths with a standard deviation of 1.02 bit, and of the squared error 0.65 bit of D.
    assert gaps[0] == pytest.approx(UNIFORM_GAP, abs=0.01)
    assert gaps[1] == pytest.approx(UNIFORM_GAP, abs=0.02)
    assert min(gaps) > 0


def test_no_compressor_of_the_example_is_below_the_bound() -> None:
    path = Path(__file__).parents[2] / "scripts" / "rate_distortion_example.py"
    spec = importlib.util.spec_from_file_location("rate_distortion_example", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    importance, variance = 1 / torch.arange(1, 1001).double(), torch.ones(1000).double()
    w = torch.randn(40, 1000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    filling, names = WaterFilling(importance, variance), set()
    for name, w_hat, bits in script.compressors(importance, variance, w, seed=0):
        errors = (w - w_hat).square() @ importance
        # The distortion of 40 models lies within four standard errors of its mean.
        bound = filling.rate_bits(float(errors.mean()) + 4 * float(errors.std()) / math.sqrt(len(w)))
        assert bits >= float(bound), name
        names.add(name)
    assert len(names) == 4


def test_lengths_of_the_uniform_code_are_those_of_probabilities() -> None:
    step = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64)
    grid = torch.arange(-200, 201, dtype=torch.float64)[:, None] * step
    code = entropy_coded_uniform(grid + 0.4 * step, torch.tensor([1.0, 2.0, 3.0]), step)
    torch.testing.assert_close(code.weights, grid)
    torch.testing.assert_close((2**-code.bits).sum(0), torch.ones(3).double(), rtol=1e-12, atol=0)
    assert bool((code.bits >= 0).all())
    # The tail: 10 steps of 1 from the mean of a standard normal.
    tail = entropy_coded_uniform(torch.tensor([10.0]), torch.ones(1), torch.ones(1)).bits
    inner = math.erfc(9.5 / math.sqrt(2)) / 2 - math.erfc(10.5 / math.sqrt(2)) / 2
    assert float(tail) == pytest.approx(-math.log2(inner), rel=1e-9)


def test_what_has_no_answer_is_refused() -> None:
    ones, filling = torch.ones(2), WaterFilling(torch.ones(2), torch.ones(2))
    for d in (0.0, -1.0, math.nan, torch.tensor([1.0, 0.0])):
        for ask in (filling.mu, filling.levels, filling.rate_bits):
            with pytest.raises(ValueError, match="distortion must be positive"):
                ask(d)
        with pytest.raises(ValueError, match="distortion must be positive"):
            gaussian_rate_bits(1.0, d)
    for broken in (torch.tensor([1.0, -1.0]), torch.tensor([1.0, math.inf]), torch.ones(1, 2)):
        with pytest.raises(ValueError, match="importance must be"):
            WaterFilling(broken, ones)
    with pytest.raises(ValueError, match="do not fit"):
        WaterFilling(ones, torch.ones(3))
    with pytest.raises(ValueError, match="variance must be"):
        gaussian_rate_bits(-1.0, 1.0)
    with pytest.raises(ValueError, match="semidefinite"):
        linear_rate_bits(ones, torch.tensor([[1.0, 2.0], [2.0, 1.0]]), 1.0)
    with pytest.raises(ValueError, match="symmetric"):
        linear_rate_bits(ones, torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 1.0)
    with pytest.raises(ValueError, match="does not fit"):
        linear_rate_bits(ones, torch.eye(3), 1.0)
    with pytest.raises(ValueError, match="positive definite"):
        entropy_bound_bits(torch.ones(2, 2), ones)
    with pytest.raises(ValueError, match="squared errors"):
        entropy_bound_bits(torch.eye(2), -ones)
    with pytest.raises(ValueError, match="weights must be"):
        gaussian_test_channel(torch.ones(3), ones, ones, 1.0, torch.Generator())
    with pytest.raises(ValueError, match="steps must be positive"):
        entropy_coded_uniform(ones, ones, torch.zeros(2))
