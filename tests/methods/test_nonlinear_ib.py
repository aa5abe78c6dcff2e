"""The nonlinear information bottleneck: its bound by brute force, over ranks, and as an objective."""

import math
from typing import Any

import pytest
import torch
from ranks import batch_of, bottleneck, on_ranks, shares
from torch.nn import functional as F

from ibsuite.interface import Batch, Classifier, Refusal, StochasticRepresentation
from ibsuite.methods import NonlinearIB


def method(covariance: str = "shared", **settings: Any) -> NonlinearIB:
    network = bottleneck(covariance=covariance)
    if network.log_std is not None:
        torch.nn.init.normal_(network.log_std, -1.0, 0.3)
    return NonlinearIB(network, **{"beta": 0.3, **settings})


def information(found: NonlinearIB, x: torch.Tensor) -> torch.Tensor:
    """-mean_i log mean_j exp(-|f_i - f_j|^2 / 2 s^2), one pair at a time."""
    encoding = found.network.encode(x)
    rows = []
    for f_i in encoding.mean:
        kernels = [torch.exp(-(((f_i - f_j) / encoding.scale[0]) ** 2).sum() / 2) for f_j in encoding.mean]
        rows.append(-torch.stack(kernels).mean().log())
    return torch.stack(rows).mean()


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), StochasticRepresentation)


@pytest.mark.parametrize("covariance", ["shared", "identity"])
@pytest.mark.parametrize(("penalty", "power"), [("identity", 1), ("square", 2)])
def test_loss_by_the_formula(covariance: str, penalty: str, power: int) -> None:
    found, batch = method(covariance, penalty=penalty), batch_of(7)
    encoding = found.network.encode(batch.x)
    torch.manual_seed(5)
    noise = torch.randn(7, 3)
    distortion = F.cross_entropy(found.network.decoder(encoding.sample(noise)), batch.y)
    torch.manual_seed(5)
    loss = found.training_step(batch, 0)
    torch.testing.assert_close(loss.float(), distortion + 0.3 * information(found, batch.x) ** power)


def test_every_parameter_gets_a_gradient() -> None:
    found = method()
    found.training_step(batch_of(7), 0).backward()
    assert [name for name, p in found.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("n", "world"), [(7, 2), (9, 3), (3, 2)])
def test_g13_the_bound_is_that_of_the_global_batch(n: int, world: int) -> None:
    """Value and gradient; the last batch is too small to be shared."""
    batch = batch_of(n)
    methods = [method().double() for _ in range(world)]
    for each in methods:
        torch.nn.init.zeros_(each.network.decoder.weight)  # every rank's own noise does not matter

    def trained(one: Batch, rank: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
        found = methods[rank]
        found.zero_grad()
        loss = found.training_step(one._replace(x=one.x.double()), 0)
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in found.parameters()]

    whole, gradients = trained(batch)
    parts = shares(batch, world)
    found = on_ranks(world, lambda rank: trained(parts[rank], rank))
    torch.testing.assert_close(torch.stack([loss for loss, _ in found]).mean(), whole, rtol=1e-9, atol=0)
    names = [name for name, _ in methods[0].named_parameters()]
    every = zip(*(grads for _, grads in found), strict=True)
    for name, each, one in zip(names, every, gradients, strict=True):
        if name != "network.decoder.weight":
            torch.testing.assert_close(torch.stack(each).mean(0), one, rtol=1e-6, atol=1e-9)


def test_reading_leaves_the_input_itself_out() -> None:
    found, (x, y, *_) = method().eval(), batch_of(6)
    with torch.no_grad():
        reading, encoding = found.read_bottleneck(x, y), found.network.encode(x)
    scaled = encoding.mean / encoding.scale
    squares = torch.cdist(scaled, scaled).square()
    for i in range(6):
        others = torch.exp(-squares[i] / 2)[torch.arange(6) != i]
        bits = -others.mean().log2()
        assert float(reading.rate_bits[i]) == pytest.approx(float(bits), rel=1e-4)


def test_information_of_a_batch_is_at_most_its_logarithm_and_zero_for_one_point() -> None:
    found, (x, *_) = method(), batch_of(8)
    with torch.no_grad():
        found.network.log_std.fill_(-8.0)
    torch.manual_seed(0)
    free = NonlinearIB(found.network, beta=0.0).training_step(batch_of(8), 0)
    torch.manual_seed(0)
    paid = NonlinearIB(found.network, beta=1.0, penalty="identity").training_step(batch_of(8), 0)
    assert float((paid - free).detach()) == pytest.approx(math.log(8), rel=1e-5)
    one = Batch(x[:1].expand(8, 4), torch.zeros(8, dtype=torch.int64), 1 / 8)
    torch.manual_seed(0)
    free = NonlinearIB(found.network, beta=0.0).training_step(one, 0)
    torch.manual_seed(0)
    paid = NonlinearIB(found.network, beta=1.0).training_step(one, 0)
    assert float((paid - free).detach()) == pytest.approx(0.0, abs=1e-5)


def test_a_batch_of_one_pays_nothing() -> None:
    x, y, *_ = batch_of(1)
    assert method().training_step(Batch(x, y, 1.0), 0).isfinite()


def test_what_cannot_be_honoured_is_refused() -> None:
    for settings in ({"covariance": "diagonal"}, {"covariance": "shared", "components": 2}):
        with pytest.raises(Refusal, match=r"covariance=shared .*components=0"):
            NonlinearIB(bottleneck(**settings))
    with pytest.raises(Refusal, match=r"model\.penalty must be square or identity"):
        method(penalty="cube")
    with pytest.raises(Refusal, match=r"hold out no labels, or two and more"):
        method().read_bottleneck(*batch_of(1)[:2])
    with pytest.raises(Refusal, match=r"covariance must be one of diagonal, full, shared, identity"):
        bottleneck(covariance="round")
