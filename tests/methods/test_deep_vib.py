"""Deep VIB: its loss by the formula, its gradients, its prediction, and what it refuses."""

import math
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from ibsuite.data import Digits
from ibsuite.data.loader import share
from ibsuite.interface import Batch, Classifier, Refusal, StochasticRepresentation
from ibsuite.methods import CrossEntropy, DeepVIB
from ibsuite.nn import MLP, Bottleneck


def bottleneck(**settings: Any) -> Bottleneck:
    torch.manual_seed(0)
    given = {"dimension": 3, "encoder": lambda shape, size: MLP(shape, size, (6,)), **settings}
    network = Bottleneck((4,), 3, **given)
    with torch.no_grad():  # scales that are not next to nothing
        network.encoder.layers[-1].bias[3:] += 5.0
    return network


def method(components: int = 0, **settings: Any) -> DeepVIB:
    return DeepVIB(bottleneck(components=components), **settings)


def data(n: int) -> Batch:
    draws = torch.Generator().manual_seed(n)
    return Batch(torch.randn(n, 4, generator=draws), torch.randint(3, (n,), generator=draws), 1 / n)


def step(found: DeepVIB, batch: Batch, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return found.training_step(batch, 0)


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), StochasticRepresentation)
    assert not isinstance(CrossEntropy(bottleneck()), StochasticRepresentation)


@pytest.mark.parametrize("samples", [1, 3])
def test_loss_is_distortion_plus_beta_times_rate(samples: int) -> None:
    found, batch = method(beta=0.3, samples=samples), data(7)
    encoding = found.network.encode(batch.x)
    torch.manual_seed(5)
    noise = torch.randn(samples, 7, 3)
    distortion = torch.stack(
        [
            F.cross_entropy(found.network.decoder(encoding.mean + encoding.scale * each), batch.y)
            for each in noise
        ]
    ).mean()
    rate = kl_divergence(Normal(encoding.mean, encoding.scale), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(step(found, batch, 5), distortion + 0.3 * rate)


def test_samples_are_averaged() -> None:
    batch, spread = data(7), {}
    for samples in (1, 16):
        found = method(samples=samples)
        spread[samples] = float(torch.stack([step(found, batch, seed).detach() for seed in range(300)]).std())
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.25)


def test_beta_of_zero_is_cross_entropy_of_the_noisy_network() -> None:
    batch = data(7)
    found, plain = method(beta=0.0), CrossEntropy(bottleneck())
    torch.manual_seed(5)
    loss = plain.train().training_step(batch, 0)
    torch.testing.assert_close(step(found.train(), batch, 5), loss, rtol=0, atol=0)
    loss.backward()
    step(found, batch, 5).backward()
    for one, two in zip(found.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("components", [0, 3])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_mean_over_ranks_is_the_global_loss(world: int, components: int) -> None:
    """Scales next to nothing, so that every rank's own noise does not matter."""
    found, (x, y, *_) = method(components, beta=0.3), data(7)
    with torch.no_grad():
        found.network.encoder.layers[-1].bias[3:] -= 15.0
    shares = [(x[part], y[part], weight) for part, weight in (share(7, rank, world) for rank in range(world))]
    whole, mean = step(found, data(7)), torch.stack([step(found, Batch(*one)) for one in shares]).mean()
    torch.testing.assert_close(mean, whole, rtol=1e-4, atol=1e-5)
    for one, two in zip(
        *(torch.autograd.grad(loss, [*found.parameters()]) for loss in (mean, whole)), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("components", [0, 3])
def test_every_parameter_gets_a_gradient(components: int) -> None:
    found = method(components)
    step(found, data(7)).backward()
    assert [name for name, p in found.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_everything_is_trained_once() -> None:
    found = method(3, optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
    found.training_steps = 10
    groups = found.configure_optimizers()["optimizer"].param_groups
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in found.parameters())


def test_reading_by_the_formulas() -> None:
    found, (x, y, *_) = method().eval(), data(9)
    with torch.no_grad():
        reading, encoding = found.read_bottleneck(x, y), found.network.encode(x)
        draws = found.network.draw_logits(encoding).double()
        logits = found.logits(x)
    rate = kl_divergence(Normal(encoding.mean, encoding.scale), Normal(0.0, 1.0)).sum(1) / math.log(2)
    torch.testing.assert_close(reading.rate_bits.float(), rate)
    nats = [F.cross_entropy(each, y, reduction="none") for each in draws]
    torch.testing.assert_close(reading.distortion_bits, torch.stack(nats).mean(0) / math.log(2))
    assert torch.equal(reading.wrong, (logits.argmax(1) != y).double())
    wrong = torch.stack([(each.argmax(1) != y).double() for each in draws]).mean(0)
    torch.testing.assert_close(reading.wrong_one_draw, wrong)
    assert all(value.dtype == torch.float64 and value.shape == (9,) for value in reading[:4])
    assert reading.residual_bits is None
    # Averaging predictions can only help, on average over the draws: Jensen.
    assert F.cross_entropy(logits.double(), y) < float(reading.distortion_bits.mean()) * math.log(2)


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(Refusal, match=r"not MLP: use --model\.network=Bottleneck"):
        DeepVIB(MLP((4,), 3))
    for settings in ({"beta": -1.0}, {"beta": math.nan}, {"samples": 0}):
        with pytest.raises(Refusal, match=r"model\.beta must not be negative and model\.samples"):
            method(**settings)
    with pytest.raises(Refusal, match=r"components=0"):
        method(2, beta=0.0)


def test_a_fit_pays_bits_for_x_only_as_far_as_beta_says() -> None:
    """Small beta: most of the labels' information at many bits; large beta: none at all, at none."""
    digits = Digits(num_labels=300, batch_size=50)
    found = {}
    for beta in (1e-3, 10.0):
        torch.manual_seed(0)
        network = Bottleneck((1, 8, 8), 10, 8, lambda shape, size: MLP(shape, size, (32,)))
        vib = DeepVIB(network, lambda p: torch.optim.Adam(p, lr=0.01), beta)
        L.Trainer(
            accelerator="cpu", max_epochs=30, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        ).fit(vib.train(), datamodule=digits)  # fmt: skip
        x, y = digits.inputs(torch.arange(300), torch.device("cpu")), digits.labels
        reading = vib.eval().read_bottleneck(x, y)
        found[beta] = tuple(float(value.mean()) for value in reading[:4])
    entropy = math.log2(10)
    rate, distortion, one, mean = found[1e-3]
    assert entropy - distortion > 3.0
    assert max(one, mean) < 0.05
    assert rate > 6
    rate, distortion, *_ = found[10.0]
    assert entropy - distortion < 0.5
    assert rate < 1
    for rate, distortion, *_ in found.values():
        assert entropy - distortion < rate  # I(Z;Y) <= I(Z;X)
