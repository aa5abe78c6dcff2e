"""The stochastic bottleneck: its divergences, its fixed draws, and bounds where the information is known."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.nn import functional as F

from ibsuite.interface import Refusal
from ibsuite.nn import MLP, Bottleneck, ConvNet, Encoding, mean_prediction, pristine_state, reset_network


def network(**settings: Any) -> Bottleneck:
    torch.manual_seed(0)
    found = Bottleneck(
        (4,), 3, **{"dimension": 3, "encoder": lambda shape, size: MLP(shape, size, (6,)), **settings}
    )
    with torch.no_grad():  # scales that are not next to nothing
        found.encoder.layers[-1].bias[3:] += 5.0
    return found.eval()


def inputs(n: int = 5) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1))


def distributions(encoding: Encoding) -> MultivariateNormal:
    scale = encoding.scale if encoding.scale.ndim == 3 else torch.diag_embed(encoding.scale)
    return MultivariateNormal(encoding.mean, scale_tril=scale)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_kl_to_the_standard_normal(covariance: str) -> None:
    encoding = network(covariance=covariance).encode(inputs())
    exact = kl_divergence(distributions(encoding), MultivariateNormal(torch.zeros(3), torch.eye(3)))
    torch.testing.assert_close(encoding.kl_to_standard_normal_nats(), exact)
    assert encoding.scale.ndim == (3 if covariance == "full" else 2)
    if covariance == "full":
        assert (encoding.scale.triu(1) == 0).all()
        assert (encoding.scale.tril(-1) != 0).any()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_samples_have_the_moments_of_the_encoding(covariance: str) -> None:
    encoding = network(covariance=covariance).encode(inputs(2))
    z = encoding.sample(torch.randn(200_000, 1, 3, generator=torch.Generator().manual_seed(2)))
    torch.testing.assert_close(z.mean(0), encoding.mean, atol=0.01, rtol=0)
    exact = distributions(encoding).covariance_matrix
    found = torch.stack([torch.cov(z[:, i].T) for i in range(2)])
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_rate_under_a_mixture_is_its_monte_carlo_mean(covariance: str) -> None:
    found = network(covariance=covariance, components=4)
    with torch.no_grad():
        found.marginal.log_stds.normal_(0, 0.3)
        found.marginal.log_weights.normal_()
    marginal = found.marginal
    r = MixtureSameFamily(
        Categorical(logits=marginal.log_weights),
        Independent(Normal(marginal.means, marginal.log_stds.exp()), 1),
    )
    encoding = found.encode(inputs(2))
    p, draws = distributions(encoding), torch.Generator().manual_seed(3)
    noise = torch.randn(100_000, 1, 3, generator=draws)
    z = encoding.sample(noise)
    torch.testing.assert_close(marginal.log_density(z[:9]), r.log_prob(z[:9]))
    direct = p.log_prob(z) - r.log_prob(z)
    error = 5 * direct.std(0) / math.sqrt(2000)
    rate = found.rate_nats(encoding, noise[:2000])
    assert ((rate - direct.mean(0)).abs() < error).all()
    assert (rate > 0).all()


def test_a_mixture_of_one_standard_normal_has_the_closed_form_whatever_the_draws() -> None:
    found = network(components=1)
    with torch.no_grad():
        found.marginal.means.zero_()
    encoding = found.encode(inputs())
    torch.testing.assert_close(
        found.rate_nats(encoding, torch.randn(1, 5, 3)), encoding.kl_to_standard_normal_nats()
    )


def test_rate_of_an_encoder_that_ignores_x_is_zero() -> None:
    """Means 0 and scales 1: softplus(log(e - 1)) = 1."""
    found = network()
    with torch.no_grad():
        last = found.encoder.layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.cat([torch.zeros(3), torch.full((3,), 5 + math.log(math.e - 1))]))
    encoding = found.encode(inputs())
    assert found.rate_nats(encoding, found.noise[:, None]).abs().max() < 1e-5
    found(inputs())
    assert torch.equal(found(inputs())[0], found(inputs())[1])


def test_a_scale_that_underflows_has_a_finite_rate_and_gradient() -> None:
    found = network()
    with torch.no_grad():
        found.encoder.layers[-1].bias[3:] = -500.0
    encoding = found.encode(inputs())
    rate = found.rate_nats(encoding, found.noise[:, None])
    assert rate.isfinite().all()
    assert (rate > 3 * 400).all()
    rate.sum().backward()
    gradient = found.encoder.layers[-1].bias.grad
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient[3:], torch.full((3,), -5.0), atol=0.1, rtol=0)  # d(-log s)/d rho = -1


@pytest.mark.parametrize("rho", [-12.0, -9.999, -3.0, 4.0])
def test_the_logarithm_of_the_scale_joins_its_two_branches(rho: float) -> None:
    found = network().double()
    with torch.no_grad():
        found.encoder.layers[-1].weight.zero_()
        found.encoder.layers[-1].bias[3:] = rho
    encoding = found.encode(inputs().double())
    torch.testing.assert_close(encoding.log_diagonal, encoding.scale.log(), rtol=1e-6, atol=1e-6)


# Draws


def test_evaluation_is_the_mean_of_the_predictions_of_the_fixed_draws() -> None:
    found, x = network(), inputs()
    each = found.draw_logits(found.encode(x))
    assert each.shape == (12, 5, 3)
    torch.testing.assert_close(found(x).exp(), each.softmax(-1).mean(0))
    torch.testing.assert_close(mean_prediction(each[:1]), each[0].log_softmax(-1))


def test_g4_what_is_said_of_an_input_does_not_depend_on_those_beside_it() -> None:
    found, x = network(), inputs(64)
    together = found(x)
    alone = torch.cat([found(one) for one in x.split(1)])
    backwards = found(x.flip(0)).flip(0)
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together, backwards, rtol=1e-6, atol=1e-6)


def test_draws_belong_to_their_numbers_and_to_no_generator() -> None:
    many, one = network(), network(draws=1)
    torch.manual_seed(5)
    assert torch.equal(one.noise[0], many.noise[0])
    assert torch.equal(Bottleneck((4,), 3, dimension=3).noise, many.noise)
    assert not torch.equal(many.noise[0], many.noise[1])
    assert "noise" not in many.state_dict()  # the receiver has it


def test_training_draws_anew_for_every_input() -> None:
    found = network().train()
    x = inputs(1).expand(6, 4)
    logits = found(x)
    assert len(logits.unique(dim=0)) == 6
    assert not torch.equal(logits, found(x))


# Its parts


def test_any_network_can_be_the_encoder() -> None:
    found = Bottleneck(
        (1, 8, 8), 10, 2, lambda shape, size: ConvNet(shape, size, (4, 4), 1), covariance="full"
    )
    x = torch.randn(3, 1, 8, 8)
    assert found(x).shape == (3, 10)
    assert found.encode(x).scale.shape == (3, 2, 2)


def test_resetting_draws_encoder_decoder_and_marginal_and_keeps_the_noise() -> None:
    found = network(components=2)
    pristine, noise = pristine_state(found), found.noise.clone()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.fill_(7.0)

    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        reset_network(found, pristine)
        return {name: value.clone() for name, value in found.state_dict().items()}

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(found.noise, noise)
    for name in one:
        assert torch.equal(one[name], again[name])
        assert not (one[name] == 7).any()
    assert all(not torch.equal(one[name], other[name]) for name in one if name.endswith((".weight", "means")))


@pytest.mark.parametrize(
    ("covariance", "components"), [("diagonal", 0), ("full", 0), ("diagonal", 2), ("full", 2)]
)
def test_gradients_agree_with_finite_differences(covariance: str, components: int) -> None:
    found = network(covariance=covariance, components=components).double()
    x, y = inputs().double(), torch.tensor([0, 1, 2, 0, 1])
    noise = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(4)).double()

    def loss() -> Tensor:
        encoding = found.encode(x)
        logits = found.decoder(encoding.sample(noise)).flatten(0, 1)
        return F.cross_entropy(logits, y.repeat(2)) + 0.3 * found.rate_nats(encoding, noise).mean()

    loss().backward()
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            parameter += 1e-5 * direction
            above = float(loss())
            parameter -= 2e-5 * direction
            below = float(loss())
            parameter += 1e-5 * direction
        slope = float((parameter.grad * direction).sum())
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-8), name


def test_what_cannot_be_honoured_is_refused() -> None:
    for settings in ({"dimension": 0}, {"draws": 0}, {"components": -1}):
        with pytest.raises(Refusal, match=r"model\.network"):
            network(**settings)


# Where the information is known


class Linear(nn.Module):
    """Means W x and one scale."""

    def __init__(self, weight: Tensor, std: float) -> None:
        super().__init__()
        self.weight, self.rho = nn.Parameter(weight), 5 + math.log(math.expm1(std))

    def forward(self, x: Tensor) -> Tensor:
        mean = x @ self.weight.T
        return torch.cat([mean, torch.full_like(mean, self.rho)], 1)


@pytest.mark.parametrize("size", [0.2, 1.0, 3.0])
def test_rate_bounds_the_information_of_a_linear_gaussian_encoder(size: float) -> None:
    """I(Z;X) = 1/2 log det(I + W S W' / s^2) exactly; rate - I = KL(p(z) || r(z))."""
    draws = torch.Generator().manual_seed(0)
    weight, std = size * torch.randn(3, 4, generator=draws), 0.5
    factor = torch.randn(4, 4, generator=draws)
    x = torch.randn(400_000, 4, generator=draws) @ factor.T
    found = Bottleneck((4,), 2, 3, lambda *_: Linear(weight, std)).eval()
    covariance = weight @ factor @ factor.T @ weight.T + std**2 * torch.eye(3)
    exact = 0.5 * torch.logdet(covariance / std**2)
    with torch.no_grad():
        rate = found.rate_nats(found.encode(x), found.noise[:, None]).mean()
    marginal = MultivariateNormal(torch.zeros(3), covariance)
    gap = kl_divergence(marginal, MultivariateNormal(torch.zeros(3), torch.eye(3)))
    assert float(rate) == pytest.approx(float(exact + gap), rel=0.01)
    assert rate > exact
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))  # z -> standard normal: the bound is met

    class Whitened(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scale = std * whiten  # lower triangular
            rows, columns = torch.tril_indices(3, 3, -1)
            rho = 5 + scale.diagonal().expm1().log()
            numbers = torch.cat([rho, scale[rows, columns]]).expand(len(x), -1)
            return torch.cat([x @ weight.T @ whiten.T, numbers], 1)

    tight = Bottleneck((4,), 2, 3, lambda *_: Whitened(), covariance="full").eval()
    with torch.no_grad():
        rate = tight.rate_nats(tight.encode(x), tight.noise[:, None]).mean()
    assert float(rate) == pytest.approx(float(exact), rel=0.01)


def test_distortion_bounds_the_information_about_the_label() -> None:
    """Two classes at +1 and -1, z = x + noise: the best decoder is linear, and there H(Y) - D = I(Z;Y)."""
    std, n = 0.8, 200_000
    draws = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = (2.0 * y - 1)[:, None]
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    densities = torch.stack([Normal(m, std).log_prob(grid).exp() for m in (-1.0, 1.0)])
    mixed = densities.mean(0)
    mutual = float((densities * (densities / mixed).log()).nan_to_num().sum() / 2 * (grid[1] - grid[0]))
    found = Bottleneck((1,), 2, 1, lambda *_: Linear(torch.ones(1, 1), std)).eval()
    z = found.encode(x).sample(torch.randn(n, 1, generator=draws))
    lower = {}
    for factor in (0.5, 1.0, 2.0):  # log q(1|z) / q(0|z) = 2 z / std^2 is the best
        with torch.no_grad():
            found.decoder.weight.copy_(factor * torch.tensor([[-1.0], [1.0]]) / std**2)
            found.decoder.bias.zero_()
            lower[factor] = math.log(2) - float(F.cross_entropy(found.decoder(z), y))
    assert lower[1.0] == pytest.approx(mutual, abs=0.005)
    assert max(lower[0.5], lower[2.0]) < mutual - 0.01
