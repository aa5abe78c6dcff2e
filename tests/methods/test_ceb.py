"""The conditional entropy bottleneck: its loss by the formula, what bounds what, and what it refuses."""

import math
from typing import Any

import pytest
import torch
from ranks import batch_of, bottleneck, shares
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F

from ibsuite.interface import Classifier, Refusal, StochasticRepresentation
from ibsuite.methods import CEB


def method(gamma: float = 0.3, **settings: Any) -> CEB:
    found = CEB(bottleneck(**{"components": 3, **settings}), gamma=gamma)
    if found.network.covariance != "identity":
        torch.nn.init.normal_(found.network.marginal.log_stds, 0, 0.3)
    return found


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), StochasticRepresentation)


@pytest.mark.parametrize("covariance", ["diagonal", "full", "shared", "identity"])
def test_residual_information_is_the_divergence_from_the_own_class(covariance: str) -> None:
    found, (x, y, *_) = method(covariance=covariance), batch_of(9)
    b = found.network.marginal
    mean, factors = found.encode(x)
    backward = MultivariateNormal(b.means[y], scale_tril=torch.diag_embed(b.log_stds[y].exp()))
    exact = kl_divergence(MultivariateNormal(mean, scale_tril=factors), backward)
    torch.testing.assert_close(found.residual_nats(found.network.encode(x), y), exact)
    if covariance == "identity":
        own = 0.5 * (mean - b.means[y]).square().sum(1)
        torch.testing.assert_close(exact, own)


def test_loss_is_distortion_plus_gamma_times_residual_information() -> None:
    found, batch = method(), batch_of(7)
    encoding, b = found.network.encode(batch.x), found.network.marginal
    torch.manual_seed(5)
    noise = torch.randn(1, 7, 3)
    distortion = F.cross_entropy(found.network.decoder(encoding.sample(noise[0])), batch.y)
    e = Independent(Normal(encoding.mean, encoding.scale), 1)
    residual = kl_divergence(e, Independent(Normal(b.means[batch.y], b.log_stds[batch.y].exp()), 1)).mean()
    torch.manual_seed(5)
    torch.testing.assert_close(found.training_step(batch, 0), distortion + 0.3 * residual)


def test_closed_form_is_the_expectation_of_the_sampled_one() -> None:
    """As the paper writes it: log e(z|x) - log b(z|y) at a draw of z."""
    found, (x, y, *_) = method(), batch_of(3)
    with torch.no_grad():
        encoding, b = found.network.encode(x), found.network.marginal
        z = encoding.sample(torch.randn(40_000, 3, 3, generator=torch.Generator().manual_seed(1)))
        forward = Normal(encoding.mean, encoding.scale).log_prob(z).sum(-1)
        sampled = forward - Normal(b.means[y], b.log_stds[y].exp()).log_prob(z).sum(-1)
        error = 5 * sampled.std(0) / math.sqrt(len(z))
        assert ((sampled.mean(0) - found.residual_nats(encoding, y)).abs() < error).all()


def test_every_parameter_but_the_weights_of_the_classes_gets_a_gradient() -> None:
    found = method()
    found.training_step(batch_of(12), 0).backward()
    none = [name for name, p in found.named_parameters() if p.grad is None or not p.grad.any()]
    assert none == ["network.marginal.log_weights"]
    assert not found.network.marginal.log_weights.any()  # classes count alike
    fixed = method(covariance="identity")
    assert not fixed.network.marginal.log_stds.requires_grad
    assert not fixed.network.marginal.log_stds.any()


@pytest.mark.parametrize("world", [2, 3])
def test_mean_over_ranks_is_the_global_loss(world: int) -> None:
    found, batch = method(), batch_of(7)
    with torch.no_grad():
        found.network.encoder.layers[-1].bias[3:] -= 15.0  # every rank's own noise does not matter
    whole = found.training_step(batch, 0)
    mean = torch.stack([found.training_step(one, 0) for one in shares(batch, world)]).mean()
    torch.testing.assert_close(mean, whole, rtol=1e-4, atol=1e-5)


def test_reading_bounds_both_informations() -> None:
    """I(X;Z) = I(X;Z|Y) + I(Y;Z), with the divergences of the mixture by hand."""
    found, (x, y, *_) = method().eval(), batch_of(50)
    with torch.no_grad():
        reading, encoding, b = found.read_bottleneck(x, y), found.network.encode(x), found.network.marginal
        bits = found.residual_nats(encoding, y).double() / math.log(2)
        torch.testing.assert_close(reading.residual_bits, bits)
        z = encoding.sample(found.network.noise[:, None]).double()
        every = Normal(b.means.double(), b.log_stds.exp().double()).log_prob(z[..., None, :]).sum(-1)
        log_m = every.logsumexp(-1) - math.log(3)
        told = every.gather(-1, y.expand(len(z), -1)[..., None])[..., 0] - log_m
    rate = bits + told.mean(0) / math.log(2)
    torch.testing.assert_close(reading.rate_bits, rate, rtol=1e-4, atol=1e-5)
    # KL(e || m) <= KL(e || b_y) + log2 3 input by input, as m >= b_y / 3
    assert (reading.rate_bits <= reading.residual_bits + math.log2(3) + 1e-6).all()
    # with many draws both ways of writing KL(e || m) agree
    many = torch.randn(4000, 50, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        network = found.network
        direct = network.rate_nats(encoding, many).mean() / math.log(2)
        network.noise = many[:, :1]
        other = found.rates_nats(encoding, y).mean() / math.log(2)
    assert float(direct) == pytest.approx(float(other), abs=0.02)


def test_what_cannot_be_honoured_is_refused() -> None:
    for components in (0, 2, 4):
        with pytest.raises(Refusal, match=r"use model\.network\.components=3"):
            method(components=components)
    for gamma in (0.0, -1.0, math.nan):
        with pytest.raises(Refusal, match=r"model\.gamma must be positive"):
            method(gamma)
