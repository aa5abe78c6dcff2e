"""G12: the KL counts every weight once, against the sum of exactly N labels; what is not sent is refused."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ibsuite.data import Digits
from ibsuite.interface import Batch, Refusal
from ibsuite.methods import Variational
from ibsuite.nn import VGG8, ConvNet, FixedGaussian, LearnedGaussian, LeNet, Prior, divergence, posterior
from ibsuite.nn.priors import SCALES

STD = 0.2


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = Digits(num_labels=103)
    data.setup()
    return data.inputs(torch.arange(103), torch.device("cpu")), data.labels


def method(kind: type[Variational] = Variational, prior: Prior | None = None, **settings: Any) -> Variational:
    torch.manual_seed(0)
    network = LeNet((1, 8, 8), 10, padding=2)
    method = kind(network, prior or FixedGaussian(STD), kl_warmup=0.0, **settings)
    with torch.no_grad():
        for parameter in network.parameters():  # biases, too, are somewhere
            parameter += 0.01 * torch.randn_like(parameter)
    return method


def kl_by_parameter(method: Variational) -> float:
    """Each weight and bias with its scale, one at a time, by torch's own KL, nats."""
    parameters = dict(method.network.named_parameters())
    total, p = 0.0, torch.distributions.Normal(torch.tensor(0.0).double(), STD)
    for name, mean in parameters.items():
        if not name.endswith("_rho"):
            std = F.softplus(parameters[f"{name}_rho"].detach().double())
            q = torch.distributions.Normal(mean.detach().double(), std)
            total += float(torch.distributions.kl_divergence(q, p).sum())
    return total


def objective_nats(method: Variational, x: Tensor, y: Tensor) -> float:
    """N times the training loss when all N labels are one batch, nats."""
    n = len(y)
    method.training_steps = 1
    method.__dict__["lr_schedulers"] = lambda: SimpleNamespace(last_epoch=0)
    method._trainer = SimpleNamespace(datamodule=SimpleNamespace(num_labels=n, stretch=None))
    torch.manual_seed(1)
    with torch.no_grad(), method.fixed(3):
        return n * float(method.training_step(Batch(x, y, 1 / n), 0))


def label_nats(method: Variational, x: Tensor, y: Tensor) -> float:
    with torch.no_grad(), method.fixed(3):
        return float(F.cross_entropy(method.logits(x), y, reduction="sum"))


def assert_objective_is_the_code(method: Variational, x: Tensor, y: Tensor) -> None:
    """N labels and the KL once; N twice as large: labels twice, the KL still once."""
    labels, kl_nats = label_nats(method, x, y), kl_by_parameter(method)
    twice = torch.cat([x, x]), torch.cat([y, y])
    assert objective_nats(method, x, y) == pytest.approx(labels + kl_nats, rel=1e-4)
    assert objective_nats(method, *twice) == pytest.approx(2 * labels + kl_nats, rel=1e-4)


def test_g12_every_weight_and_bias_counts_once() -> None:
    found = method()
    tensors = posterior(found.network)
    plain = LeNet((1, 8, 8), 10, padding=2)
    assert list(tensors) == [name for name, _ in plain.named_parameters()]
    assert sum(mean.numel() for mean, _ in tensors.values()) == sum(p.numel() for p in plain.parameters())
    assert found.divergence(2, 0).kl_bits == pytest.approx(kl_by_parameter(found) / math.log(2), rel=1e-12)


def test_g12_the_kl_is_weighed_against_the_sum_over_all_labels(digits: tuple[Tensor, Tensor]) -> None:
    assert_objective_is_the_code(method(), *digits)
    assert_objective_is_the_code(method(samples=2), *digits)


def test_g12_planted_violation_a_kl_for_each_label_is_found(digits: tuple[Tensor, Tensor]) -> None:
    class Forgetful(Variational):
        def kl_per_label_nats(self) -> Tensor:
            return super().kl_per_label_nats() * self.trainer.datamodule.num_labels

    with pytest.raises(AssertionError):
        assert_objective_is_the_code(method(Forgetful), *digits)


def test_g12_planted_violation_a_skipped_tensor_is_found(digits: tuple[Tensor, Tensor]) -> None:
    class Skipping(FixedGaussian):
        def cross_entropy_nats(self, mean: Tensor, std: Tensor) -> Tensor:
            free = mean.ndim == 1  # biases for nothing
            return std.log().sum() if free else super().cross_entropy_nats(mean, std)

    cheat = method(prior=Skipping(STD))
    with pytest.raises(AssertionError):
        assert_objective_is_the_code(cheat, *digits)
    assert cheat.divergence(2, 0).kl_bits != pytest.approx(kl_by_parameter(cheat) / math.log(2), rel=1e-3)


@pytest.mark.parametrize("network", [ConvNet((1, 8, 8), 10), VGG8((1, 8, 8), 10, batch_norm=True)])
def test_g12_batch_norm_is_refused(network: torch.nn.Module) -> None:
    with pytest.raises(Refusal, match="batch norm"):
        Variational(network, FixedGaussian())


def sent(scales: Tensor) -> bool:
    """Whether all scales are among the 256 that eight bits can name."""
    return bool(torch.isin(scales, SCALES).all())


def test_g12_a_learned_prior_is_quantised_and_charged_before_the_kl_is_taken() -> None:
    found = method(prior=LearnedGaussian())
    tensors = posterior(found.network, exact=True)
    nearest = [  # the scale that is sent, found again from the price alone
        min(SCALES, key=lambda scale: float(FixedGaussian(float(scale)).kl_nats(*q)))
        for q in tensors.values()
    ]
    assert sent(torch.stack(nearest))
    scaled = zip(nearest, tensors.values(), strict=True)
    nats = sum(float(FixedGaussian(float(scale)).kl_nats(*q)) for scale, q in scaled)
    price = found.divergence(2, 0)
    assert price.kl_bits == pytest.approx(nats / math.log(2), rel=1e-12)
    assert price.prior_bits == 8 * len(tensors) == len(tensors) * math.log2(len(SCALES))


def test_g12_planted_violation_a_scale_that_nobody_sent_is_found() -> None:
    class Unsent(LearnedGaussian):
        def price(self, mean: Tensor, std: Tensor, samples: int, seed: int) -> Any:
            return super().price(mean, std, samples, seed)._replace(kl_nats=self.kl_nats(mean, std))

    tensors = posterior(method().network, exact=True)
    cheat, honest = (divergence(prior, tensors, 2, 0) for prior in (Unsent(), LearnedGaussian()))
    assert not sent(torch.stack([(mean**2 + std**2).mean().sqrt() for mean, std in tensors.values()]))
    assert cheat.kl_bits < honest.kl_bits


def test_g12_bits_are_the_same_on_every_rank() -> None:
    """Neither the global generator nor the mode has a say in what is charged."""
    found = method(prior=LearnedGaussian())
    one = found.divergence(20, 5)
    torch.rand(7)
    assert found.eval().divergence(20, 5) == one
