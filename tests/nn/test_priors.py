"""KLs against Monte Carlo, SciPy's densities and numerical integration; what a learned prior costs."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from ibsuite.interface import Refusal
from ibsuite.nn import ConjugateGaussian, FixedGaussian, LearnedGaussian, Prior, ScaleMixture, divergence
from ibsuite.nn.bayesian import Gaussian
from ibsuite.nn.priors import SCALES, entropy_nats

PRIORS: list[Prior] = [
    FixedGaussian(0.2),
    LearnedGaussian(),
    LearnedGaussian("output"),
    LearnedGaussian("input"),
    ConjugateGaussian(),
    ScaleMixture(),
]


def tensor(*shape: int, seed: int = 0) -> Gaussian:
    """A posterior with means and scales of all sizes, float64."""
    draws = torch.Generator().manual_seed(seed)
    mean = 0.2 * torch.randn(shape, generator=draws, dtype=torch.float64)
    return Gaussian(mean, 0.3 * torch.rand(shape, generator=draws, dtype=torch.float64) + 0.01)


def sampled(
    q: Gaussian, log_density: Callable[[np.ndarray], np.ndarray], n: int = 20_000
) -> tuple[float, float]:
    """KL by plain Monte Carlo with SciPy's densities, and its standard error; (n, d) -> (n,)."""
    mean, std = q.mean.flatten().numpy(), q.std.flatten().numpy()
    draws = np.random.default_rng(1).normal(mean, std, (n, len(mean)))
    values = stats.norm.logpdf(draws, mean, std).sum(1) - log_density(draws)
    return values.mean(), values.std() / math.sqrt(n)


def test_fixed_gaussian() -> None:
    q, prior = tensor(4, 5), FixedGaussian(0.3)
    by_torch = torch.distributions.kl_divergence(
        torch.distributions.Normal(*q), torch.distributions.Normal(0.0, 0.3)
    ).sum()
    torch.testing.assert_close(prior.kl_nats(*q), by_torch)
    written = (0.3 / q.std).log() + (q.std**2 + q.mean**2) / (2 * 0.3**2) - 0.5
    torch.testing.assert_close(prior.kl_nats(*q), written.sum())
    value, error = sampled(q, lambda w: stats.norm.logpdf(w, 0, 0.3).sum(1))
    assert float(prior.kl_nats(*q)) == pytest.approx(value, abs=4 * error)
    same = Gaussian(torch.zeros(7).double(), torch.full((7,), 0.3).double())
    assert float(prior.kl_nats(*same)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("per", ["tensor", "output", "input"])
def test_learned_gaussian_trains_at_the_best_scale_of_each_group(per: str) -> None:
    q = tensor(4, 3, 2)
    parts = {
        "tensor": [q],
        "output": [Gaussian(q.mean[i], q.std[i]) for i in range(4)],
        "input": [Gaussian(q.mean[:, i], q.std[:, i]) for i in range(3)],
    }[per]
    best = 0.0
    for part in parts:
        scales = np.exp(np.linspace(-5, 2, 20_001))
        best += min(
            float(FixedGaussian(scale).kl_nats(*part))
            for scale in scales[np.abs(scales - float((part.mean**2 + part.std**2).mean().sqrt())) < 0.02]
        )
    assert float(LearnedGaussian(per).kl_nats(*q)) == pytest.approx(best, rel=1e-6)
    bias = tensor(6)
    assert float(LearnedGaussian(per).kl_nats(*bias)) == pytest.approx(
        float(LearnedGaussian().kl_nats(*bias))
    )


@pytest.mark.parametrize(("per", "groups"), [("tensor", 1), ("output", 4), ("input", 3)])
def test_learned_gaussian_is_priced_at_a_scale_that_was_sent(per: str, groups: int) -> None:
    q, prior = tensor(4, 3, 2), LearnedGaussian(per)
    price = prior.price(*q, samples=0, seed=0)
    assert price.prior_bits == 8 * groups
    assert price.standard_error_nats == 0
    if per == "tensor":
        sent = [float(FixedGaussian(float(scale)).kl_nats(*q)) for scale in SCALES]
        assert float(price.kl_nats) == pytest.approx(min(sent))
        assert float(price.kl_nats) not in (sent[0], sent[-1])
    loss = float(price.kl_nats - prior.kl_nats(*q))
    assert 0 < loss < 0.0006 * 24  # 24 weights
    assert len(SCALES) == 256


def test_scales_outside_of_the_grid_are_priced_at_its_end() -> None:
    q = Gaussian(torch.zeros(5).double(), torch.full((5,), 1e-6).double())
    expected = FixedGaussian(1e-4).kl_nats(*q)
    torch.testing.assert_close(LearnedGaussian().price(*q, samples=0, seed=0).kl_nats, expected)


@pytest.mark.parametrize("n", [1, 3])
def test_conjugate_gaussian_is_the_variance_integrated_out(n: int) -> None:
    """At a posterior of no width the cross entropy is -log p(w): by integration, and SciPy's Student."""
    a, b, w = 1.5, 0.2, np.linspace(0.3, -0.4, n)

    def joint(v: float) -> float:
        return stats.norm.pdf(w, 0, math.sqrt(v)).prod() * stats.invgamma.pdf(v, a, scale=b)

    density, _ = integrate.quad(joint, 0, np.inf)
    student = stats.multivariate_t.logpdf(w, np.zeros(n), b / a * np.eye(n), df=2 * a)
    found = -float(ConjugateGaussian(a, b).cross_entropy_nats(torch.tensor(w), torch.zeros(n).double()))
    assert found == pytest.approx(math.log(density), rel=1e-6)
    assert found == pytest.approx(float(student), rel=1e-9)


@pytest.mark.parametrize("shape", [(3,), (20, 10)])
def test_conjugate_gaussian_bounds_the_kl_from_above_and_closely(shape: tuple[int, ...]) -> None:
    q, a, b = tensor(*shape), 0.5, 0.005
    n = q.mean.numel()
    value, error = sampled(
        q, lambda w: stats.multivariate_t.logpdf(w, np.zeros(n), b / a * np.eye(n), df=2 * a)
    )
    bound = float(ConjugateGaussian(a, b).kl_nats(*q))
    assert value - 4 * error < bound < value + 1 + 4 * error
    assert bound > value  # Jensen's gap is half a nat, the error a hundredth


def test_scale_mixture_against_plain_monte_carlo() -> None:
    q, prior = tensor(6, 4), ScaleMixture(0.3, 0.5, 0.02)

    def log_density(w: np.ndarray) -> np.ndarray:
        mixed = 0.3 * stats.norm.pdf(w, 0, 0.5) + 0.7 * stats.norm.pdf(w, 0, 0.02)
        return np.log(mixed).sum(1)

    value, error = sampled(q, log_density)
    price = prior.price(*q, samples=2000, seed=3)
    assert float(price.kl_nats) == pytest.approx(value, abs=4 * math.hypot(error, price.standard_error_nats))
    assert price.standard_error_nats > 0
    torch.manual_seed(0)
    steps = torch.stack([prior.kl_nats(*q) for _ in range(2000)])  # what training sees
    assert float(steps.mean()) == pytest.approx(
        value, abs=4 * math.hypot(error, float(steps.std()) / 2000**0.5)
    )


def test_scale_mixture_says_how_far_it_may_be_off() -> None:
    """Over 200 estimates of 50 draws the standard error is the spread."""
    q, prior = tensor(6, 4), ScaleMixture(0.3, 0.5, 0.02)
    prices = [prior.price(*q, samples=50, seed=seed) for seed in range(200)]
    spread = float(torch.stack([price.kl_nats for price in prices]).std())
    assert sum(price.standard_error_nats for price in prices) / 200 == pytest.approx(spread, rel=0.2)
    assert prices[0] == prior.price(*q, samples=50, seed=0)
    with pytest.raises(Refusal, match="needs 2 samples"):
        prior.price(*q, samples=1, seed=0)


def test_scale_mixture_of_one_component_is_a_gaussian() -> None:
    q = tensor(6, 4)
    price = ScaleMixture(1.0, 0.3, 0.01).price(*q, samples=4000, seed=0)
    exact = float(FixedGaussian(0.3).kl_nats(*q))
    assert float(price.kl_nats) == pytest.approx(exact, abs=4 * price.standard_error_nats)
    equal = ScaleMixture(0.4, 0.3, 0.3).price(*q, samples=4000, seed=0)
    assert float(equal.kl_nats) == pytest.approx(float(price.kl_nats))
    trained = [t.requires_grad_() for t in q]
    gradient = torch.autograd.grad(ScaleMixture(1.0, 0.3, 0.01).kl_nats(*trained), trained)
    assert all(part.isfinite().all() for part in gradient)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_gradients_against_finite_differences(prior: Prior) -> None:
    q = Gaussian(*(t.requires_grad_() for t in tensor(3, 2)))

    def kl(mean: Tensor, std: Tensor) -> Tensor:
        torch.manual_seed(0)
        return prior.kl_nats(mean, std)

    assert torch.autograd.gradcheck(kl, tuple(q))


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_float32_training_agrees_with_float64_pricing(prior: Prior) -> None:
    q = tensor(50, 40)
    torch.manual_seed(0)
    trained = float(prior.kl_nats(q.mean.float(), q.std.float()))
    price = prior.price(*q, samples=50, seed=0)
    assert trained == pytest.approx(float(price.kl_nats), rel=1e-3, abs=30 * price.standard_error_nats + 1)
    assert price.kl_nats.dtype == torch.float64


def test_entropy() -> None:
    std = tensor(4, 3).std
    assert float(entropy_nats(std)) == pytest.approx(stats.norm.entropy(0, std.numpy()).sum())


def test_divergence_is_the_sum_over_tensors_in_bits() -> None:
    posterior = {"weight": tensor(4, 3), "bias": tensor(3, seed=1)}
    found = divergence(LearnedGaussian(), posterior, samples=0, seed=0)
    prices = [LearnedGaussian().price(*q, samples=0, seed=0) for q in posterior.values()]
    assert found.kl_bits == pytest.approx(sum(float(price.kl_nats) for price in prices) / math.log(2))
    assert (found.standard_error_bits, found.prior_bits) == (0, 16)
    mixture = divergence(ScaleMixture(), posterior, samples=100, seed=0)
    assert mixture == divergence(ScaleMixture(), posterior, samples=100, seed=0)
    assert mixture.kl_bits != divergence(ScaleMixture(), posterior, samples=100, seed=1).kl_bits
    assert mixture.standard_error_bits > 0
    assert mixture.prior_bits == 0


def test_broken_posteriors_and_settings_are_refused() -> None:
    mean = torch.zeros(3).double()
    for prior in PRIORS:
        with pytest.raises(Refusal, match=r"'fc\.bias' has zero variance"):
            divergence(prior, {"fc.bias": Gaussian(mean, torch.tensor([0.1, 0.0, 0.1]).double())}, 2, 0)
        with pytest.raises(Refusal, match=r"'fc\.bias' has zero variance"):  # underflow in training
            divergence(prior, {"fc.bias": Gaussian(mean, torch.tensor([0.1, 1e-60, 0.1]).double())}, 2, 0)
        with pytest.raises(Refusal, match=r"'fc\.bias' is not finite"):
            divergence(prior, {"fc.bias": Gaussian(mean + math.nan, mean + 0.1)}, 2, 0)
    for make, settings in (
        (FixedGaussian, {"std": 0}),
        (FixedGaussian, {"std": math.inf}),
        (ConjugateGaussian, {"shape": 0}),
        (ConjugateGaussian, {"rate": -1}),
        (ScaleMixture, {"pi": 0}),
        (ScaleMixture, {"pi": 1.5}),
        (ScaleMixture, {"std2": 0}),
    ):
        with pytest.raises(Refusal, match="must"):
            make(**settings)
