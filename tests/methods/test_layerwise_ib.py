"""Layer-by-layer training: its objectives by brute force and closed form, its schedule, what is frozen."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from offline_runs import code_of
from ranks import batch_of
from torch import Tensor, nn

from ibsuite.data import Digits
from ibsuite.information import JointCritic, gaussian_information_nats, linear_gaussian_mi_nats
from ibsuite.interface import Batch, Refusal
from ibsuite.methods import LayerwiseIB
from ibsuite.methods.global_batch import GlobalBatch
from ibsuite.nn import MLP, ConvNet


def method(network: Any = None, shape: tuple[int, ...] = (4,), **settings: Any) -> LayerwiseIB:
    """4 inputs, layers of 6, 5 and 3 numbers, critics drawn."""
    torch.manual_seed(0)
    made = LayerwiseIB(network or MLP(shape, 3, hidden=(6, 5)), **{"label_hidden": (7,), **settings})
    made.build_critics(shape)
    made.reset_parameters()
    return made


def alone(batch: Batch) -> GlobalBatch:
    return GlobalBatch(batch, 1, 0)


def donsker_varadhan(joint: list[float], product: list[float]) -> float:
    return sum(joint) / len(joint) - math.log(sum(math.exp(f) for f in product) / len(product))


# Values


@pytest.mark.parametrize("label_critic", ["free", "normalised"])
def test_label_information_is_that_of_all_pairs_of_the_batch(label_critic: Any) -> None:
    made, batch = method(label_critic=label_critic), batch_of(12)
    out = made.parts[0](batch.x)
    scores = made.critics[0].d_y.of_classes(out).detach().double()
    if label_critic == "normalised":
        share = torch.bincount(batch.y, minlength=3).double() / 12
        scores = (scores.softmax(1) / share).log()
    joint = [float(scores[i, batch.y[i]]) for i in range(12)]
    product = [float(scores[i, batch.y[j]]) for i in range(12) for j in range(12)]
    found = made._label_information(out, batch.y, alone(batch), 0)
    assert float(found.detach()) == pytest.approx(donsker_varadhan(joint, product), abs=1e-9)


def test_a_normalised_critic_gives_entropy_less_cross_entropy() -> None:
    made, batch = method(label_critic="normalised"), batch_of(40)
    out = made.parts[0](batch.x)
    share = torch.bincount(batch.y).double() / 40
    entropy = -(share * share.log()).sum()
    loss = nn.functional.cross_entropy(made.critics[0].d_y.of_classes(out).double(), batch.y)
    found = made._label_information(out, batch.y, alone(batch), 0)
    assert float(found.detach()) == pytest.approx(float((entropy - loss).detach()), abs=1e-9)


def test_a_class_that_is_not_in_the_batch_does_no_harm() -> None:
    made = method()
    batch = batch_of(12)._replace(y=torch.tensor([0, 2] * 6))
    found = made._label_information(made.parts[0](batch.x), batch.y, alone(batch), 0)
    assert bool(found.isfinite())
    (gradient,) = torch.autograd.grad(found, [made.parts[0][1].weight])
    assert bool(gradient.isfinite().all())


def test_input_information_is_that_of_all_pairs_of_different_inputs() -> None:
    made, batch = method(), batch_of(9)
    own = made.parts[0](batch.x).detach()
    noisy = made._noisy(own, alone(batch), 0, 0)
    scores = made.critics[0].d_x(own, noisy).detach().double()
    joint = [float(scores[i, i]) for i in range(9)]
    product = [float(scores[i, j]) for i in range(9) for j in range(9) if i != j]
    found = made._input_information(own, noisy, alone(batch), 0)
    assert float(found.detach()) == pytest.approx(donsker_varadhan(joint, product), abs=1e-6)


@pytest.mark.parametrize("penalty", ["critic", "gaussian", "kernel"])
def test_noise_in_both_terms(penalty: Any) -> None:
    plain, both, batch = method(penalty=penalty), method(penalty=penalty, noise_in_both=True), batch_of(12)
    for made in (plain, both):
        made.beta, made.noise_std = 0.2, 0.7
    out = both.parts[0](batch.x).detach()
    noisy = both._noisy(out, alone(batch), 3, 1)
    of_noisy = both._label_information(noisy, batch.y, alone(batch), 0)
    of_plain = both._label_information(out, batch.y, alone(batch), 0)
    objectives = [each._objective(out, batch.y, alone(batch), 0, 3) for each in (plain, both)]
    assert float((objectives[1] - objectives[0]).detach()) == pytest.approx(
        float((of_noisy - of_plain).detach()), abs=1e-6
    )
    assert float(of_noisy.detach()) != float(of_plain.detach())


def test_while_a_layer_is_trained_its_critic_predicts() -> None:
    made, batch = method(), batch_of(12)
    made.present = 1
    out = made.parts[1](made.parts[0](batch.x))
    assert torch.equal(made.logits(batch.x), made.critics[1].d_y.of_classes(out))
    made.present = 3
    assert torch.equal(made.logits(batch.x), made.readout(made.network(batch.x)))


# Gradients


def linear(weight: Tensor, **settings: Any) -> LayerwiseIB:
    """One linear layer, and behind it the last one."""
    network = nn.Sequential(nn.Linear(weight.shape[1], len(weight)), nn.Identity(), nn.Linear(len(weight), 3))
    made = method(network, shape=(weight.shape[1],), **settings)
    with torch.no_grad():
        network[0].weight.copy_(weight)
        network[0].bias.zero_()
    return made


WEIGHT = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.8, -0.4]])
INPUT_COVARIANCE = torch.tensor([[1.0, 0.4, 0.0], [0.4, 1.5, 0.3], [0.0, 0.3, 0.7]])


def closed_form_gradient(noise_std: float, covariance: Tensor) -> Tensor:
    """Of equation 5 in W: S_e^-1-weighted, (W S W' + s^2 I)^-1 W S."""
    w = WEIGHT.double().clone().requires_grad_()
    nats = linear_gaussian_mi_nats(w, covariance.double(), noise_std**2 * torch.eye(2).double())
    (gradient,) = torch.autograd.grad(nats, w)
    plain = w.detach()
    inverse = torch.linalg.inv(plain @ covariance.double() @ plain.T + noise_std**2 * torch.eye(2).double())
    assert torch.allclose(gradient, inverse @ plain @ covariance.double(), atol=1e-10)
    return gradient


def penalty_gradient(made: LayerwiseIB, x: Tensor) -> Tensor:
    """d I(X; L + noise) / d W as the layer gets it: the difference of the objective with and without it."""
    batch = Batch(x, torch.arange(len(x)) % 3, 1 / len(x))
    gradients = []
    for beta in (0.0, 1.0):
        made.beta = beta
        out = made.parts[0](batch.x)
        objective = made._objective(out, batch.y, alone(batch), 0, 0)
        gradients.append(torch.autograd.grad(objective, [made.parts[0][0].weight])[0].double())
    return gradients[0] - gradients[1]


def test_the_gaussian_penalty_is_equation_5_with_the_covariance_of_the_batch() -> None:
    made = linear(WEIGHT, penalty="gaussian", noise_std=0.7)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
    covariance = torch.cov(x.T.double())
    with torch.no_grad():
        value = gaussian_information_nats(made.parts[0](x), 0.7)
    truth = linear_gaussian_mi_nats(WEIGHT.double(), covariance, 0.49 * torch.eye(2).double())
    assert float(value) == pytest.approx(float(truth), rel=1e-5)
    found = penalty_gradient(made, x)
    assert torch.allclose(found, closed_form_gradient(0.7, covariance), atol=1e-4)


class LogDensityRatio(nn.Module):
    """The best critic of L = W X, X Gaussian: log N(t; l, s^2 I) / N(t; 0, W S W' + s^2 I)."""

    def __init__(self, noise_std: float) -> None:
        super().__init__()
        self.noise_std = noise_std
        marginal = WEIGHT @ INPUT_COVARIANCE @ WEIGHT.T + noise_std**2 * torch.eye(2)
        self.given = torch.distributions.Normal(0.0, noise_std)
        self.marginal = torch.distributions.MultivariateNormal(torch.zeros(2), marginal)

    def forward(self, own: Tensor, noisy: Tensor) -> Tensor:
        given = self.given.log_prob(noisy - own[:, None]).sum(-1)
        return given - self.marginal.log_prob(noisy)


def test_section_2_the_gradient_through_the_best_critic_is_that_of_equation_5() -> None:
    # The copy of F inside the critic gets no gradient, and none is missing: the envelope theorem.
    made = linear(WEIGHT, penalty="critic", noise_std=0.7, input_critic=lambda *_: LogDensityRatio(0.7))
    factor = torch.linalg.cholesky(INPUT_COVARIANCE)
    found = []
    for seed in range(12):
        x = torch.randn(600, 3, generator=torch.Generator().manual_seed(seed)) @ factor.T
        made.noise_seed = seed
        found.append(penalty_gradient(made, x))
    mean = torch.stack(found).mean(0)
    truth = closed_form_gradient(0.7, INPUT_COVARIANCE)
    assert float((mean - truth).norm() / truth.norm()) < 0.05
    # It pulls the weights in, as a decay does, but by the statistics of the inputs.
    assert float((mean * WEIGHT).sum()) > 0


class OfOwn(nn.Module):
    """Scores that depend on the critic's own copy of F(x) alone."""

    def forward(self, own: Tensor, noisy: Tensor) -> Tensor:
        return own.square().sum(1)[:, None] + torch.eye(len(own)) + 0.0 * noisy.sum(1)


def test_no_gradient_comes_through_the_critics_own_copy() -> None:
    made = linear(WEIGHT, penalty="critic", noise_std=0.7, input_critic=lambda *_: OfOwn())
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
    assert float(penalty_gradient(made, x).abs().max()) < 1e-7


def test_the_kernel_penalty_falls_when_outputs_shrink() -> None:
    made = linear(WEIGHT, penalty="kernel", noise_std=0.7)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
    assert float((penalty_gradient(made, x) * WEIGHT).sum()) > 0


# The schedule, and what stays as it is


def test_layers_share_the_steps_and_the_read_out_has_its_own() -> None:
    made = method(readout_share=0.1)
    made.training_steps = 100
    where = [made.layer_at(step) for step in range(100)]
    assert [layer for layer, _ in where] == [0] * 30 + [1] * 30 + [2] * 30 + [3] * 10
    assert [where[i][1] for i in (0, 15, 30, 60, 90, 95)] == [0.0, 0.5, 0.0, 0.0, 0.0, 0.5]


def test_frozen_layers_are_rank_0s_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, int]] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda buffer, src: sent.append((buffer, src)))
    made = method(MLP((4,), 3, hidden=(6, 5), batch_norm=True))
    made._trainer = SimpleNamespace(world_size=2)  # type: ignore[assignment]
    made._move_on(0)
    assert not sent  # nothing has been frozen
    made._move_on(1)
    assert [id(buffer) for buffer, _ in sent] == [id(buffer) for buffer in made.network.buffers()]
    assert {src for _, src in sent} == {0}
    made._move_on(1)
    assert len(sent) == len(list(made.network.buffers()))


class Watch(L.Callback):
    """What has changed in each step: names of parameters, and of critics by their layer."""

    def __init__(self) -> None:
        self.changed: list[set[str]] = []
        self.rates: list[float] = []

    @staticmethod
    def _state(module: Any) -> dict[str, Tensor]:
        critics = {f"critics.{i}.{n}": t for i, c in enumerate(module.critics)
                   for n, t in c.state_dict().items()}  # fmt: skip
        return {name: t.clone() for name, t in {**module.state_dict(), **critics}.items()}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.before = self._state(pl_module)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        after = self._state(pl_module)
        self.changed.append({n for n, t in self.before.items() if not torch.equal(t, after[n])})


def test_only_the_present_layer_and_its_critics_are_trained(fit: Callable[..., Any]) -> None:
    watch = Watch()
    # Batch normalisation: the statistics of frozen layers have to stay, too.
    network = ConvNet((1, 8, 8), 10, widths=[3, 4])
    made = LayerwiseIB(network, label_hidden=(6,), input_critic=JointCritic, readout_share=0.2)
    code = code_of("floats", min_steps=20, max_steps=20)
    data = Digits(num_labels=100, batch_size=16)
    fit(code=code, method=made, data=data, callbacks=(watch,))
    layers = len(made.parts)
    seen: dict[int, set[str]] = {}
    for step, changed in enumerate(watch.changed):
        seen.setdefault(made.layer_at(step)[0], set()).update(changed)
    for layer in range(layers):
        names = {
            n
            for n, p in made.network.named_parameters()
            if any(p is q for q in made.parts[layer].parameters())
        }
        modules = dict(made.network.named_modules())
        own = {f"network.{n}" for n in names}
        statistics = {n for n in seen[layer] if "running" in n or "tracked" in n}
        inside = {id(m) for m in made.parts[layer].modules()}
        assert all(id(modules[n.removeprefix("network.").rpartition(".")[0]]) in inside for n in statistics)
        critics = {n for n in seen[layer] if n.startswith(f"critics.{layer}.")}
        assert own <= seen[layer]
        assert critics
        assert seen[layer] == own | statistics | critics
    assert seen[layers] == {"readout.weight", "readout.bias"}
    starts = [step for step in range(20) if made.layer_at(step)[1] == 0.0]
    assert len(starts) == layers + 1
    assert len({watch.rates[step] for step in starts}) == 1  # each begins at the full learning rate


def test_beta_zero_is_the_run_on_label_information_alone(fit: Callable[..., Any]) -> None:
    found = []
    for number, settings in enumerate(
        ({"penalty": "critic"}, {"penalty": "gaussian"}, {"penalty": "kernel", "noise_std": 3.0})
    ):
        made = LayerwiseIB(MLP((1, 8, 8), 10, hidden=(8,)), beta=0.0, **settings)
        fit(code=code_of("floats"), method=made, folder=f"run{number}")
        found.append([p.detach().clone() for p in made.parameters()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    made = LayerwiseIB(MLP((1, 8, 8), 10, hidden=(8,)), beta=0.1)
    fit(code=code_of("floats"), method=made, folder="other")
    assert not all(torch.equal(a, b) for a, b in zip(found[0], made.parameters(), strict=True))


def test_the_merged_read_out_changes_neither_predictions_nor_information() -> None:
    made, batch = method(), batch_of(200)
    with torch.no_grad():
        made.readout.weight.copy_(torch.randn(3, 3))
        made.readout.bias.copy_(torch.randn(3))
    made.present = 3
    a, shift = made.readout.weight.detach().clone(), made.readout.bias.detach().clone()
    last_before = made.network(batch.x)
    before = made.logits(batch.x)
    made.merge()
    made.merge()  # nothing happens a second time
    assert torch.allclose(made.logits(batch.x), before, atol=1e-5)
    assert set(made.state_dict()) == {f"network.{name}" for name in MLP((4,), 3, hidden=(6, 5)).state_dict()}
    # Whatever a critic says of L it says of A L + a, once it undoes the map.
    undone = (made.network(batch.x) - shift) @ torch.linalg.inv(a).T
    values = [made._label_information(out, batch.y, alone(batch), 2) for out in (last_before, undone)]
    assert float(values[0].detach()) == pytest.approx(float(values[1].detach()), abs=1e-4)


# Refusals


def test_without_noise_there_is_nothing_to_measure() -> None:
    with pytest.raises(Refusal, match=r"noise_std must be positive.*infinite"):
        method(noise_std=0.0)


@pytest.mark.parametrize("settings", [{"beta": -1.0}, {"critic_steps": 0}, {"readout_share": 1.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=next(iter(settings))):
        method(**settings)


def test_a_network_that_does_not_end_in_a_linear_layer_is_refused() -> None:
    with pytest.raises(Refusal, match="must end in a linear layer"):
        method(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))


def test_a_critic_that_diverges_stops_the_run(fit: Callable[..., Any]) -> None:
    def wild(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1e6)

    made = LayerwiseIB(MLP((1, 8, 8), 10, hidden=(8,)), critic_optimizer=wild, label_critic="free")
    with pytest.raises(
        Refusal, match=r"critics of layer 1 \(layers\.1\) diverged at step \d+.*critic_optimizer"
    ):
        fit(code=code_of("floats"), method=made)
