"""The variational method: its loss, schedules, resets, draws; what it finds where Bayes is known."""

import math
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.data import Digits
from ibsuite.data.loader import share
from ibsuite.interface import Batch, Classifier, Refusal, WeightPosterior
from ibsuite.methods import Variational
from ibsuite.methods.schedules import learning_rate_factor
from ibsuite.nn import MLP, ConvNet, FixedGaussian, LearnedGaussian, ScaleMixture, posterior


def method(**settings: Any) -> Variational:
    torch.manual_seed(0)
    return Variational(MLP((4,), 3, (6,)), settings.pop("prior", FixedGaussian(0.3)), **settings)


def data(n: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(n)
    return torch.randn(n, 4, generator=draws), torch.randint(3, (n,), generator=draws)


def in_training(
    method: Variational, labels: int, step: int, steps: int, rows: int | None = None
) -> Variational:
    """As inside a fit, at one step of it."""
    stretch = None if rows is None else SimpleNamespace(rows=torch.arange(rows))
    method.training_steps = steps
    method.__dict__["lr_schedulers"] = lambda: SimpleNamespace(last_epoch=step)
    method._trainer = SimpleNamespace(datamodule=SimpleNamespace(num_labels=labels, stretch=stretch))
    return method


def kl_nats(method: Variational) -> float:
    tensors = posterior(method.network).values()
    q = [torch.distributions.Normal(mean, std) for mean, std in tensors]
    p = torch.distributions.Normal(0.0, method.prior.std)
    return sum(float(torch.distributions.kl_divergence(part, p).sum().detach()) for part in q)


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), WeightPosterior)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (5, 0.25), (20, 1.0), (60, 1.0)])
@pytest.mark.parametrize(("rows", "labels"), [(None, 500), (200, 200)])
def test_loss_is_label_nats_plus_a_share_of_the_kl(
    step: int, weight: float, rows: int | None, labels: int
) -> None:
    """With the scales next to nothing the label part is the plain network's cross entropy."""
    found = in_training(method(initial_std=1e-6, sampling="weights"), 500, step, 100, rows)
    x, y = data(7)
    cross_entropy = float(F.cross_entropy(found.network.eval()(x), y).detach())
    loss = found.train().training_step(Batch(x, y, 1 / 7), 0).detach()
    assert float(loss) == pytest.approx(cross_entropy + weight * kl_nats(found) / labels, rel=1e-4)
    never = in_training(method(initial_std=1e-6, kl_warmup=0.0), 500, 0, 100)
    assert float(never.kl_per_label_nats().detach()) == pytest.approx(kl_nats(never) / 500, rel=1e-5)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_mean_over_ranks_is_the_global_loss(world: int) -> None:
    found = in_training(method(initial_std=1e-6), 500, 50, 100)
    x, y = data(7)
    whole = found.training_step(Batch(x, y, 1 / 7), 0)
    shares = [(x[part], y[part], weight) for part, weight in (share(7, rank, world) for rank in range(world))]
    mean = torch.stack([found.training_step(Batch(*one), 0) for one in shares]).mean()
    torch.testing.assert_close(mean, whole, rtol=1e-4, atol=1e-5)
    for one, two in zip(
        *(torch.autograd.grad(loss, found.parameters()) for loss in (mean, whole)), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-4)


def test_samples_are_averaged() -> None:
    x, y = data(7)
    spread = {}
    for samples in (1, 16):
        found = in_training(method(initial_std=0.5, samples=samples), 500, 50, 100)
        losses = torch.stack([found.training_step(Batch(x, y, 1 / 7), 0).detach() for _ in range(200)])
        spread[samples] = float(losses.std())
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("sampling", ["weights", "local", "flipout"])
def test_every_parameter_gets_a_gradient(sampling: str) -> None:
    found = in_training(method(sampling=sampling), 500, 50, 100)
    found.training_step(Batch(*data(7), 1 / 7), 0).backward()
    assert [name for name, parameter in found.named_parameters() if parameter.grad is None] == []


def test_scales_have_a_learning_rate_of_their_own_and_nothing_is_decayed() -> None:
    found = method(optimizer=lambda p: torch.optim.AdamW(p, lr=0.01), scale_rate=7.0, warmup=0.1, hold=0.4)
    found.training_steps = 50
    configured = found.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    names = {id(parameter): name for name, parameter in found.network.named_parameters()}
    means, scales = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert sorted(means + scales) == sorted(names.values())
    assert all(name.endswith("_rho") for name in scales)
    assert not any(name.endswith("_rho") for name in means)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0]
    for step in range(50):
        peak = learning_rate_factor(step / 50, 0.1, "linear", 0.4)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.01 * peak, 0.07 * peak])
        optimizer.step()
        schedule.step()


def test_resetting_forgets_training_and_follows_the_generator() -> None:
    found = in_training(method(center="initialisation", kl_warmup=0.0), 50, 50, 100)

    def drawn(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        found.reset_parameters()
        return [tensor.clone() for tensor in found.state_dict().values()]

    before = drawn(1)
    found.training_step(Batch(*data(7), 1.0), 0).backward()
    with torch.no_grad():
        for p in found.parameters():
            p.sub_(p.grad)
    assert any(mean.any() for mean, _ in posterior(found.network).values())
    assert any(not torch.equal(a, b) for a, b in zip(before, found.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, drawn(1), strict=True))
    assert not torch.equal(before[0], drawn(2)[0])
    assert not any(
        mean.any() for mean, _ in posterior(found.network).values()
    )  # the prior's centre moved too


def test_logits_are_the_means_or_a_named_draw() -> None:
    found, (x, _) = method(initial_std=0.2), data(5)
    with torch.no_grad():
        found.train()
        assert not torch.equal(found.logits(x), found(x))
        found.eval()
        means = found.logits(x)
        assert torch.equal(means, found(x))
        with found.fixed(3):
            one = found.logits(x)
        with found.fixed(3):
            assert torch.equal(one, found.logits(x))
        with found.fixed(4):
            assert not torch.equal(one, found.logits(x))
        with found.fixed(None):
            assert torch.equal(means, found.logits(x))


def test_divergence() -> None:
    found = method()
    kl_bits, error, prior_bits = found.divergence(samples=2, seed=0)
    assert kl_bits == pytest.approx(kl_nats(found) / math.log(2), rel=1e-6)
    assert (error, prior_bits) == (0, 0)
    assert method(prior=LearnedGaussian()).divergence(2, 0).prior_bits == 8 * 4
    assert method(prior=ScaleMixture()).divergence(20, 0).standard_error_bits > 0


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(Refusal, match=r"ConvNet keeps .* without batch norm"):
        Variational(ConvNet((1, 8, 8), 3), FixedGaussian())
    for settings, message in (
        ({"samples": 0}, "samples must be 1"),
        ({"kl_warmup": 1.5}, "kl_warmup must"),
        ({"initial_std": -1.0}, "initial_std must"),
    ):
        with pytest.raises(Refusal, match=message):
            method(**settings)


def test_a_fit_shortens_the_description_of_digits() -> None:
    torch.manual_seed(0)
    digits = Digits(num_labels=300, batch_size=50)
    found = Variational(
        MLP((1, 8, 8), 10, ()), LearnedGaussian(), optimizer=lambda p: torch.optim.Adam(p, lr=0.01)
    )
    L.Trainer(
        accelerator="cpu", max_epochs=60, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(found.train(), datamodule=digits)  # fmt: skip
    x, y = digits.inputs(torch.arange(300), torch.device("cpu")), digits.labels
    with found.eval().fixed(1), torch.no_grad():
        label_bits = float(F.cross_entropy(found(x), y, reduction="sum")) / math.log(2)
    kl_bits, _, prior_bits = found.divergence(2, 0)
    assert kl_bits + prior_bits + label_bits < 0.75 * 300 * math.log2(10)


def trained(found: Variational, x: Tensor, y: Tensor, loss: Any, steps: int) -> None:
    """Full-batch training on ``loss(outputs, y)``, summed nats, as ``training_step`` does it."""
    in_training(found, len(x), steps, steps)
    optimizer = torch.optim.Adam(found.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(steps):
        optimizer.zero_grad()
        labels = torch.stack([loss(found.network(x), y) for _ in range(found.samples)]).mean()
        (labels / len(x) + found.kl_per_label_nats()).backward()
        optimizer.step()
        schedule.step()


def test_equation_4_on_bayesian_linear_regression() -> None:
    """L_var = -log p_Bayes(y|x) + KL(q || posterior), exactly; equality where q is the posterior.

    One weight w ~ N(0, s0^2), y = x w + N(0, 1): the posterior is in the family, so training finds it.
    """
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(30, 1, generator=draws)
    y = 0.7 * x + torch.randn(30, 1, generator=draws)
    s0, noise = 0.8, 1.0
    precision = 1 / s0**2 + float(x.square().sum())
    exact = torch.distributions.Normal(float((x * y).sum()) / precision, precision**-0.5)
    covariance = s0**2 * x.double() @ x.double().T + noise * torch.eye(30).double()
    marginal = torch.distributions.MultivariateNormal(torch.zeros(30).double(), covariance)
    bayes = -float(marginal.log_prob(y.double()[:, 0]))

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return -torch.distributions.Normal(outputs, noise).log_prob(y).sum()

    def length(found: Variational) -> float:
        """E_q[-log p(y|x,w)] in closed form, plus KL."""
        ((mean, std),) = posterior(found.network, exact=True).values()
        expected = loss(x.double() * mean, y.double()) + (x.double() * std).square().sum() / 2
        return float(expected) + found.divergence(2, 0).kl_bits * math.log(2)

    network = nn.Linear(1, 1, bias=False)
    found = Variational(network, FixedGaussian(s0), initial_std=0.3, samples=4)
    for step in range(2):
        ((mean, std),) = posterior(found.network, exact=True).values()
        gap = torch.distributions.kl_divergence(torch.distributions.Normal(mean, std), exact)
        assert length(found) == pytest.approx(bayes + float(gap), rel=1e-6)
        if step:
            assert float(gap) < 0.02  # training has found the exact posterior
        else:
            assert float(gap) > 0.1
            trained(found, x, y, loss, 400)


def test_equation_4_on_bayesian_logistic_regression() -> None:
    """Two weights, Bayes by integration over a fine grid: L_var is longer by KL(q || posterior)."""
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(40, 2, generator=draws).double()
    y = (torch.rand(40, generator=draws) < torch.sigmoid(x @ torch.tensor([1.5, -1.0]).double())).long()
    s0 = 1.0
    network = nn.Linear(2, 1, bias=False)
    found = Variational(network, FixedGaussian(s0), initial_std=0.3, samples=2)

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], y.to(outputs.dtype), reduction="sum")

    side = torch.linspace(-5, 6, 551, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side - 1)
    cell = float(side[1] - side[0]) ** 2
    log_likelihood = -F.softplus((1 - 2 * y) * (grid @ x.T)).sum(1)
    log_prior = torch.distributions.Normal(0.0, s0).log_prob(grid).sum(1)
    bayes = -float(torch.logsumexp(log_likelihood + log_prior, 0)) - math.log(cell)
    log_posterior = log_likelihood + log_prior + bayes
    gaps = []
    for step in range(2):
        ((mean, std),) = posterior(found.network, exact=True).values()
        log_q = torch.distributions.Normal(mean, std).log_prob(grid).sum(1)
        q = log_q.exp() * cell
        assert float(q.sum()) == pytest.approx(1, abs=1e-9)
        gaps.append(float((q * (log_q - log_posterior)).sum()))
        length = -float((q * log_likelihood).sum()) + found.divergence(2, 0).kl_bits * math.log(2)
        assert length == pytest.approx(bayes + gaps[-1], rel=1e-9)
        assert length > bayes
        if not step:
            trained(found, x.float(), y, loss, 400)
    assert gaps[1] < 0.3 < gaps[0]  # what is left: the posterior is not Gaussian, its weights correlated
