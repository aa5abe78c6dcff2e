"""VIBNet: its loss by the formula, its parameters, what it removes, and what it refuses."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from ibsuite.interface import Batch, Classifier, GatedUnits, Refusal
from ibsuite.methods import CrossEntropy, VIBNet
from ibsuite.nn import MLP, ConvNet, LeNet, gate_places, layer_chain
from ibsuite.nn.chain import Scale

MAPS = (3, 8, 8)


def fully_connected() -> nn.Module:
    return MLP((4,), 3, (6, 5))


def convolutional() -> nn.Module:
    return LeNet(MAPS, 3, padding=2, filters=(6, 5), hidden=(7,))


def method(network: nn.Module | None = None, **settings: Any) -> VIBNet:
    """With gates as if something had been learnt: a third of the units is shut, some factors are negative."""
    torch.manual_seed(0)
    found = VIBNet(network or fully_connected(), **{"gamma_warmup": 0.0, **settings})
    with torch.no_grad():
        for gate in found.gates:
            gate.mu.copy_(0.3 + 0.7 * torch.randn(gate.units))
            gate.log_variance.copy_(gate.mu.square().log() - 2)
            gate.log_variance[1::3] += 4
    return found


def data(n: int, shape: tuple[int, ...] = (4,)) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(n)
    return torch.randn(n, *shape, generator=draws), torch.randint(3, (n,), generator=draws)


def at_step(found: VIBNet, step: int, steps: int) -> VIBNet:
    found.training_steps = steps
    found.__dict__["lr_schedulers"] = lambda: SimpleNamespace(last_epoch=step)
    return found


def by_hand(found: VIBNet, x: Tensor) -> tuple[Tensor, list[float]]:
    """Logits under the next noise of the generator, and the rate of every gate in nats, from the formulas."""
    rates, h = [], x
    for name, layer in layer_chain(found.network):
        h = layer(h)
        if name in found.places:
            gate = found.gates[found.places.index(name)]
            eps = torch.randn(len(x), gate.units)
            z = gate.mu + eps * gate.log_variance.exp().sqrt()
            h = h * z.view(*z.shape, *(1,) * (h.ndim - 2))
            pairs = zip(gate.mu.tolist(), gate.log_variance.tolist(), strict=True)
            positions = math.prod(h.shape[2:])
            rates.append(positions * sum(0.5 * math.log(1 + m * m / (math.exp(v) + 1e-8)) for m, v in pairs))
    return h, rates


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), GatedUnits)


@pytest.mark.parametrize("make", [fully_connected, convolutional])
@pytest.mark.parametrize("warmup", [(0.0, 0, 1.0), (0.4, 10, 0.25), (0.4, 90, 1.0), (1.0, 0, 0.0)])
def test_the_loss_is_distortion_and_weighted_rates(
    make: Callable[[], nn.Module], warmup: tuple[float, int, float]
) -> None:
    share, step, weight = warmup
    network = make()
    factors = [0.5, 0.0, 3.0, 1.0][: len(gate_places(layer_chain(network)))]
    found = method(network, gamma=0.01, layer_gammas=factors, gamma_warmup=share)
    at_step(found, step, 100)
    x, y = data(7, (4,) if make is fully_connected else MAPS)
    torch.manual_seed(3)
    with torch.no_grad():
        logits, rates = by_hand(found, x)
    torch.manual_seed(3)
    loss = float(found.training_step(Batch(x, y, 1 / 7), 0).detach())
    rate = sum(c * r for c, r in zip(factors, rates, strict=True))
    assert rate > 1
    assert loss == pytest.approx(float(F.cross_entropy(logits, y)) + weight * 0.01 * rate, rel=1e-6)
    assert float(found.rate_nats().detach()) == pytest.approx(rate, rel=1e-6)
    bits = [reading.rate_bits * math.log(2) for reading in found.gate_readings()]
    assert bits == pytest.approx(rates, rel=1e-6)


def test_shares_of_a_batch_add_up_to_the_loss_of_the_whole() -> None:
    found = method(gamma=0.01).eval()  # no noise
    x, y = data(12)
    whole = found.training_step(Batch(x, y, 1 / 12), 0)
    parts = [found.training_step(Batch(x[s], y[s], 2 / 12), 0) for s in (slice(5), slice(5, 12))]
    torch.testing.assert_close(sum(parts) / 2, whole)


def test_open_gates_are_not_charged_while_nothing_is_compressed() -> None:
    found, (x, y) = method(gamma=5.0), data(7)
    found.compressing = False
    torch.manual_seed(3)
    with torch.no_grad():
        logits, _ = by_hand(found, x)
    torch.manual_seed(3)
    loss = found.training_step(Batch(x, y, 1 / 7), 0)
    torch.testing.assert_close(loss.detach(), F.cross_entropy(logits, y))


def test_the_gaussian_likelihood_is_torchs_own() -> None:
    found = method(MLP((4,), 2, (6,)), likelihood="gaussian", gamma=0.0).eval()
    with torch.no_grad():
        found.log_noise.copy_(torch.tensor([0.7, -1.3]))
        x, _ = data(9)
        y = torch.randn(9, 2)
        means = found.logits(x)
        wanted = -Normal(means, (0.5 * found.log_noise).exp()).log_prob(y).sum()
        torch.testing.assert_close(found.distortion_nats(Batch(x, y, 1.0)), wanted)
        one = method(MLP((4,), 1, (6,)), likelihood="gaussian").eval()
        flat = one.distortion_nats(Batch(x, y[:, 0], 1.0))
        torch.testing.assert_close(flat, one.distortion_nats(Batch(x, y[:, :1], 1.0)))
    maps = VIBNet(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 6), nn.Flatten()), likelihood="gaussian"
    )
    assert maps.log_noise.shape == (2,)


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("compressing", [False, True])
@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
@pytest.mark.parametrize("make", [fully_connected, convolutional])
def test_every_parameter_has_a_gradient(
    make: Callable[[], nn.Module], likelihood: Any, compressing: bool, removed: bool
) -> None:
    found = method(make(), likelihood=likelihood, gamma_warmup=0.5)
    at_step(found, 0, 10)  # gamma is still 0
    found.compressing = compressing
    if removed:
        found.remove_units()
    x, y = data(8, (4,) if make is fully_connected else MAPS)
    target = F.one_hot(y, 3).float() if likelihood == "gaussian" else y
    found.train().training_step(Batch(x, target, 1 / 8), 0).backward()
    assert [name for name, p in found.named_parameters() if p.grad is None] == []
    assert any(name.startswith("gates") for name, _ in found.named_parameters()) is not removed


def test_gates_have_their_own_rate_and_nothing_of_theirs_decays() -> None:
    found = method(
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3),
        gate_rate=7.0,
        likelihood="gaussian",
        warmup=0.0,
        decay="constant",
    )
    found.training_steps = 10
    groups = found.configure_optimizers()["optimizer"].param_groups
    of = {id(p): group for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(of)
    assert of.keys() == {id(p) for p in found.parameters()}
    for name, parameter in found.named_parameters():
        group = of[id(parameter)]
        assert group["lr"] == pytest.approx(0.07 if name.startswith("gates") else 0.01), name
        assert (group["weight_decay"] > 0) is (parameter.ndim > 1), name
    found.remove_units()
    groups = found.configure_optimizers()["optimizer"].param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in found.parameters()}


def test_resetting_forgets_training_and_follows_the_generator() -> None:
    found = method(likelihood="gaussian")

    def drawn(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        found.reset_parameters()
        return [tensor.clone() for tensor in found.state_dict().values()]

    one = drawn(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(2).add_(1)
    assert all(torch.equal(a, b) for a, b in zip(one, drawn(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, drawn(2), strict=True) if a.ndim == 2)
    assert all(reading.kept.all() for reading in found.gate_readings())


# Beginning from another run


def checkpoint(module: L.LightningModule, path: Path) -> str:
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, path)
    return str(path)


@pytest.mark.parametrize("kind", [CrossEntropy, VIBNet])
def test_a_pretrained_network_is_taken_over(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = kind(ConvNet(MAPS, 3, (4, 5)))
    before.network(torch.randn(6, *MAPS))  # running means
    path = checkpoint(before, tmp_path / "final.ckpt")
    torch.manual_seed(6)
    found = VIBNet(ConvNet(MAPS, 3, (4, 5)), pretrained=path)

    def is_taken_over() -> bool:
        theirs = before.network.state_dict()
        return all(torch.equal(tensor, theirs[key]) for key, tensor in found.network.state_dict().items())

    assert is_taken_over()
    assert found.gates[0].kept().all()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(3)
    assert not is_taken_over()
    found.reset_parameters()
    assert is_taken_over()
    assert float(found.gates[0].mu.detach().mean()) == pytest.approx(1, abs=0.05)


def test_a_pretrained_network_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    for other in (MLP((4,), 3, (6,)), MLP((4,), 3, (6, 4)), ConvNet(MAPS, 3, (4,))):
        path = checkpoint(CrossEntropy(other), tmp_path / "other.ckpt")
        with pytest.raises(
            Refusal, match=r"of another network than MLP; give both runs the same model.network"
        ):
            method(pretrained=path)
    with pytest.raises(Refusal, match=r"there is no checkpoint .*nothing\.ckpt"):
        method(pretrained=str(tmp_path / "nothing.ckpt"))
    for content in (b"", b"garbage", (tmp_path / "other.ckpt").read_bytes()[:300]):
        (tmp_path / "broken.ckpt").write_bytes(content)
        with pytest.raises(Refusal, match=r"broken\.ckpt is no checkpoint of a run"):
            method(pretrained=str(tmp_path / "broken.ckpt"))
    for content in ({"weights": 1}, [1, 2]):
        torch.save(content, tmp_path / "broken.ckpt")
        with pytest.raises(Refusal, match=r"broken\.ckpt is no checkpoint of a run"):
            method(pretrained=str(tmp_path / "broken.ckpt"))


# Removal


@pytest.mark.parametrize("make", [fully_connected, convolutional])
def test_removal_changes_no_prediction(make: Callable[[], nn.Module]) -> None:
    found = method(make()).eval()
    x, _ = data(20, (4,) if make is fully_connected else MAPS)
    full = found.network
    with torch.no_grad():
        before = found.logits(x)
        readings = {reading.place: reading for reading in found.gate_readings()}
        found.remove_units()
        torch.testing.assert_close(found.logits(x), before, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.network.eval()(x), before, rtol=1e-5, atol=1e-5)
    assert found.unit_signs is not None
    assert found.unit_signs.keys() == readings.keys()
    for place, reading in readings.items():
        assert torch.equal(found.unit_signs[place], (reading.mu.sign() * reading.kept).long())
    assert found.gate_readings() == []
    assert found.gate_inputs(x) == {}
    assert float(found.rate_nats()) == 0
    assert sum(p.numel() for p in found.parameters()) < sum(p.numel() for p in full.parameters())
    with pytest.raises(Refusal, match="removed already"):
        found.remove_units()
    assert found.unit_signs.keys() == readings.keys()


def test_inputs_of_gates_are_those_of_their_layers() -> None:
    found, (x, _) = method(convolutional(), gates=["input", "features.1", "head.layers.0"]), data(5, MAPS)
    found.network.head.eval()
    with torch.no_grad():
        for gate in found.gates:
            gate.log_variance.sub_(30)  # no noise
        found.gates[1].mu[2] = 0
        found.gates[1].log_variance[2] = 9.0
    modes = [module.training for module in found.modules()]
    seen = found.gate_inputs(x)
    assert [module.training for module in found.modules()] == modes
    assert torch.equal(seen["input"], x)
    found.eval()
    factors = [gate.scales()[None, :, None, None] for gate in found.gates[:2]]
    maps = found.network.features[:2](x * factors[0])
    torch.testing.assert_close(seen["features.1"], maps)
    flat = found.network.features[2:](maps * factors[1]).flatten(1)
    torch.testing.assert_close(seen["head.layers.0"], flat)
    assert [reading.positions for reading in found.gate_readings()] == [64, 64, 1]


@pytest.mark.parametrize("make", [fully_connected, convolutional])
@pytest.mark.parametrize("removed", [False, True])
def test_a_checkpoint_brings_back_what_was_left(
    make: Callable[[], nn.Module], removed: bool, tmp_path: Path
) -> None:
    found = method(make(), likelihood="gaussian").eval()
    x, _ = data(20, (4,) if make is fully_connected else MAPS)
    found.logits(x)
    if removed:
        found.remove_units()
        assert any(isinstance(layer, Scale) for layer in found.network) is (make is convolutional)
        with torch.no_grad():  # fine-tuned
            for parameter in found.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    saved = {"state_dict": found.state_dict()}
    found.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "some.ckpt")
    other = VIBNet(make(), likelihood="gaussian").eval()
    for _ in range(2):  # also over what has been loaded before
        loaded = torch.load(tmp_path / "some.ckpt", weights_only=True)
        other.on_load_checkpoint(loaded)
        other.load_state_dict(loaded["state_dict"])
    # The rates first: the other one has not seen a map yet.
    assert [r.rate_bits for r in other.gate_readings()] == [r.rate_bits for r in found.gate_readings()]
    with torch.no_grad():
        assert torch.equal(other.logits(x), found.logits(x))
    assert (other.unit_signs is None) is not removed
    for place, signs in (found.unit_signs or {}).items():
        assert other.unit_signs is not None
        assert torch.equal(other.unit_signs[place], signs)


@pytest.mark.parametrize("make", [fully_connected, convolutional])
def test_a_receiver_has_the_same_layers_from_the_signs(make: Callable[[], nn.Module]) -> None:
    found, other = method(make()).eval(), VIBNet(make()).eval()
    found.remove_units()
    other.remove_units(found.unit_signs)
    assert [type(layer) for layer in other.network] == [type(layer) for layer in found.network]
    other.network.load_state_dict(found.network.state_dict())
    x, _ = data(9, (4,) if make is fully_connected else MAPS)
    with torch.no_grad():
        assert torch.equal(other.logits(x), found.logits(x))
    with pytest.raises(ValueError, match="has 2 scales for"):
        VIBNet(make()).remove_units({VIBNet(make()).places[0]: torch.ones(2)})


def test_a_layer_without_units_is_refused() -> None:
    found = method()
    with torch.no_grad():
        found.gates[1].log_variance.fill_(9.0)
        found.gates[1].mu.fill_(1.0)
    before = found.network
    with pytest.raises(Refusal, match=r"all 6 units at 'layers.2' are dead.*lower model.gamma \(0.0005\)"):
        found.remove_units()
    assert found.network is before
    assert found.unit_signs is None


def test_what_cannot_be_honoured_is_refused() -> None:
    places = "'layers.0', 'layers.2', 'layers.5'"
    for settings, said in (
        ({"gamma": -1.0}, "must not be negative"),
        ({"gamma": float("nan")}, "must not be negative"),
        ({"layer_gammas": [1.0, -1.0, 1.0]}, "must not be negative"),
        ({"layer_gammas": [1.0]}, f"model.layer_gammas has 1 factors for 3 gates: .{places}"),
        ({"gate_rate": 0.0}, "model.gate_rate must be positive"),
        ({"gamma_warmup": 1.5}, r"model.gamma_warmup lie in \[0, 1\]"),
        ({"gates": []}, "must name some layers, each once"),
        ({"gates": ["layers.2", "layers.2"]}, "must name some layers, each once"),
        ({"gates": ["layers.9"]}, f"there is no such layer; usual places are .{places}"),
        ({"gates": ["layers.1"]}, "would stand in front of ReLU"),
        ({"gates": ["layers.7"]}, "would remove classes"),
        ({"gates": ["input"]}, "the input is flattened by 'layers.0'"),
        ({"likelihood": "poisson"}, "model.likelihood must be categorical or gaussian, got 'poisson'"),
        ({"network": nn.Sequential(nn.Linear(4, 3))}, "must name some layers"),
        ({"network": nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Linear(3, 3))}, "has the layer '1'"),
    ):
        with pytest.raises(Refusal, match=said):
            method(**settings)


def test_one_network_can_be_removed_from_but_once() -> None:
    found = method(convolutional())
    with torch.no_grad():
        found.gates[2].log_variance[:3] = 9.0  # features: selected by index from now on
    found.remove_units()
    with pytest.raises(Refusal, match="units of this network have been removed already"):
        VIBNet(found.network)
