"""Gates: what their noise does, what their rates are, and where they may stand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from ibsuite.interface import Refusal
from ibsuite.nn import MLP, VGG8, VGG13, ConvNet, LeNet, TinyCNN, gate_places, gate_units, layer_chain
from ibsuite.nn.chain import GlobalAverage, Select
from ibsuite.nn.gates import FLOOR, InformationGate

DIGITS = (1, 8, 8)


def gate(mu: Tensor, log_variance: Tensor, threshold: float = 0.0) -> InformationGate:
    found = InformationGate(len(mu), threshold)
    with torch.no_grad():
        found.mu.copy_(mu)
        found.log_variance.copy_(log_variance)
    return found


def test_noise_has_the_mean_and_variance_of_its_gate() -> None:
    torch.manual_seed(0)
    mu, sigma = torch.tensor([1.0, -0.5, 0.0, 2.0]), torch.tensor([0.3, 1.0, 2.0, 1e-3])
    found, n = gate(mu, 2 * sigma.log()), 20_000
    f = torch.tensor([0.7, -2.0, 1.5, 3.0])
    with torch.no_grad():
        h = found(f.expand(n, -1)).double()
    z = (h.mean(0) - mu * f) / (sigma * f.abs() / math.sqrt(n))
    assert z.abs().max() < 4.5
    assert (h.var(0) / (sigma * f).square() - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert (torch.corrcoef(h.T) - torch.eye(4)).abs().max() < 4.5 / math.sqrt(n)  # of its own for every unit
    assert (h[1:] - mu * f).mul(h[:-1] - mu * f).mean(0).div((sigma * f).square()).abs().max() < 0.04


def test_all_positions_of_a_map_have_one_factor() -> None:
    found = gate(torch.ones(3), torch.zeros(3))
    x = torch.rand(5, 3, 4, 2) + 0.5
    factors = found(x) / x
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(x))
    assert len(factors[:, :, 0, 0].unique()) == 15


def test_evaluation_is_the_mean_behind_the_mask() -> None:
    log_alpha = torch.tensor([-3.0, -0.1, 0.1, 5.0])
    mu = torch.tensor([2.0, -0.5, 1.0, -3.0])
    log_variance = log_alpha + mu.square().log()
    x = torch.randn(6, 4, 2, 2)
    for threshold, kept in ((0.0, [1, 1, 0, 0]), (-1.0, [1, 0, 0, 0]), (2.0, [1, 1, 1, 0])):
        found = gate(mu, log_variance, threshold).eval()
        torch.testing.assert_close(found.log_alpha(), log_alpha, rtol=0, atol=1e-5)
        assert found.kept().tolist() == [bool(k) for k in kept]
        wanted = x * (mu * torch.tensor(kept))[:, None, None]
        assert torch.equal(found(x), wanted)
        assert torch.equal(found(x), found(x))
    nothing = gate(torch.zeros(2), torch.tensor([-20.0, -9.0]))
    torch.testing.assert_close(nothing.log_alpha(), torch.tensor([-20.0, -9.0]) - math.log(FLOOR))
    assert not nothing.scales().any()


def test_the_rate_is_its_closed_form_times_the_positions() -> None:
    torch.manual_seed(1)
    mu, sigma = torch.randn(7), torch.rand(7) + 0.05
    found = gate(mu, 2 * sigma.log())
    nats = sum(0.5 * math.log(1 + m * m / (s * s)) for m, s in zip(mu.tolist(), sigma.tolist(), strict=True))
    for shape, positions in (((7,), 1), ((7, 5, 3), 15), ((7, 1, 1), 1), ((7, 4), 4)):
        for training in (True, False):
            found.train(training)(torch.randn(2, *shape))
            assert float(found.rate_nats().detach()) == pytest.approx(positions * nats, rel=1e-5)
    dead = gate(torch.zeros(3), torch.zeros(3))
    assert float(dead.rate_nats().detach()) == 0
    shut = gate(torch.ones(1), torch.tensor([-200.0]))  # sigma underflows, the floor does not
    assert float(shut.rate_nats().detach()) == pytest.approx(0.5 * math.log(1 + 1 / FLOOR), rel=1e-6)


def test_the_rate_is_the_kl_without_psi() -> None:
    """On strictly positive activations, where psi is finite, against torch's own divergence."""
    torch.manual_seed(2)
    mu, sigma = torch.randn(5).double(), torch.rand(5).double() + 0.1
    f = (0.8 * torch.randn(4000, 5).double()).exp()
    xi = (mu.square() + sigma.square()) * f.square().mean(0)
    kl = kl_divergence(Normal(f * mu, f * sigma), Normal(torch.zeros(5).double(), xi.sqrt())).mean(0)
    psi = f.square().mean(0).log() - f.square().log().mean(0)
    found = gate(mu, 2 * sigma.log()).double()
    found(f)
    with torch.no_grad():
        found.mu.copy_(mu)
        found.log_variance.copy_(2 * sigma.log())
    assert (psi > 0.5).all()
    assert float(found.rate_nats().detach()) == pytest.approx(float((kl - psi / 2).sum()), rel=1e-6)
    for factor in (0.9, 1.1):  # no other variance of the marginal is better
        other = kl_divergence(Normal(f * mu, f * sigma), Normal(0 * mu, (factor * xi).sqrt())).mean(0)
        assert (other > kl).all()


def test_gradients_are_finite_differences() -> None:
    torch.manual_seed(3)
    found = gate(torch.tensor([0.8, -1.2, 0.01]), torch.tensor([-2.0, 0.5, -6.0])).double()
    x = torch.randn(4, 3, 2, 2).double()
    found(x)

    def rate(mu: Tensor, log_variance: Tensor) -> Tensor:
        values = {"mu": mu, "log_variance": log_variance}
        return torch.func.functional_call(Rate(found), {f"gate.{k}": v for k, v in values.items()}, ())

    def output(mu: Tensor, log_variance: Tensor, x: Tensor) -> Tensor:
        torch.manual_seed(5)
        return torch.func.functional_call(found, {"mu": mu, "log_variance": log_variance}, (x,))

    parameters = [p.detach().clone().requires_grad_() for p in (found.mu, found.log_variance)]
    assert torch.autograd.gradcheck(rate, parameters)
    assert torch.autograd.gradcheck(output, [*parameters, x.requires_grad_()])
    assert output(*parameters, x).dtype == torch.float64


class Rate(nn.Module):
    """The rate of a gate as a forward pass."""

    def __init__(self, gate: InformationGate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self) -> Tensor:
        return self.gate.rate_nats()


def test_fresh_gates_are_open_and_follow_the_generator() -> None:
    torch.manual_seed(0)
    found = InformationGate(5000)
    first = found.mu.detach().clone()
    for parameter, mean in ((found.mu, 1.0), (found.log_variance, -9.0)):
        values = parameter.detach()
        assert float(values.mean()) == pytest.approx(mean, abs=4.5 * 0.01 / math.sqrt(5000))
        assert float(values.std()) == pytest.approx(0.01, rel=0.05)
    assert found.kept().all()
    torch.manual_seed(0)
    found.reset_parameters()
    assert torch.equal(found.mu, first)


PLACES: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "MLP": (lambda: MLP(DIGITS, 3, (5, 4)), {"layers.0": 64, "layers.2": 5, "layers.5": 4}),
    "LeNet": (
        lambda: LeNet((1, 28, 28), 10, filters=(20, 50), hidden=(500,)),
        {"features.1": 20, "features.4": 50, "head.layers.0": 800, "head.layers.2": 500},
    ),
    "one position": (lambda: LeNet((1, 16, 16), 3, hidden=()), {"features.1": 6, "features.4": 16}),
    "ConvNet": (
        lambda: ConvNet(DIGITS, 3, (4, 5), depth=1),
        {"features.2": 4, "features.6": 5},
    ),
    "TinyCNN": (
        lambda: TinyCNN(DIGITS, 3),
        {"features.1": 32, "features.3": 32, "features.6": 32, "features.8": 32, "head.layers.0": 128},
    ),
    "VGG8": (lambda: VGG8(DIGITS, 3, batch_norm=True), {"features.2": 32, "features.5": 32}),
    "VGG13": (lambda: VGG13((3, 32, 32), 3), {"features.1": 64, "head.2": 512}),
    "linear": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), {"0": 3}),
    "norm of features": (
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 2)),
        {"1": 64},
    ),
    "late activation": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.Flatten(), nn.BatchNorm1d(72), nn.ReLU(), nn.Linear(72, 2)
        ),
        {"3": 72},
    ),
    "pool first": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2)
        ),
        {"2": 2, "3": 3},
    ),
    "norm of images": (
        lambda: nn.Sequential(
            nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2)
        ),
        {"2": 2, "3": 72},
    ),
    "averaged": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), GlobalAverage(), nn.Flatten(), nn.Linear(2, 2)),
        {"1": 2},
    ),
    "flattened twice": (
        lambda: nn.Sequential(nn.Flatten(), nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2)),
        {"0": 64, "3": 3},
    ),
    "none": (lambda: nn.Sequential(nn.Linear(4, 3)), {}),
}


@pytest.mark.parametrize("name", PLACES)
def test_usual_places_and_their_units(name: str) -> None:
    make, wanted = PLACES[name]
    layers = layer_chain(make())
    places = gate_places(layers)
    found = {place: gate_units(layers, place) for place in places}
    assert found.items() >= wanted.items()
    if name in ("TinyCNN", "VGG8", "VGG13"):  # too many to be written down
        hidden = sum(isinstance(layer, nn.Linear | nn.Conv2d) for _, layer in layers) - 1
        assert hidden == len(places) - (name == "TinyCNN")
    else:
        assert found == wanted


@pytest.mark.parametrize("name", ["MLP", "LeNet", "ConvNet", "TinyCNN", "VGG8", "late activation"])
def test_units_are_what_passes_there(name: str) -> None:
    make, _ = PLACES[name]
    network = make().eval()
    layers = layer_chain(network)
    x = torch.randn(2, *((1, 28, 28) if name == "LeNet" else DIGITS))
    for place, layer in layers:
        x = layer(x)
        if place in gate_places(layers):
            assert gate_units(layers, place) == x.shape[1]
            assert InformationGate(x.shape[1])(x).shape == x.shape


def test_other_places_may_be_named() -> None:
    front = (nn.Dropout2d(0.1), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    head = (nn.Flatten(), nn.Dropout(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 2))
    conv = layer_chain(nn.Sequential(*front, *head))
    places = {"input": 3, "0": 3, "2": 4, "3": 4, "4": 36, "5": 36, "7": 5}
    assert {place: gate_units(conv, place) for place in places} == places
    assert gate_units(layer_chain(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))), "input") == 4


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("features.0", "would stand in front of BatchNorm2d"),
        ("features.1", "would stand in front of ReLU"),
        ("head", "would remove classes"),
        ("features", "no such layer; usual places are .'features.2', 'features.6'"),
    ],
)
def test_places_where_units_cannot_be_removed_are_refused(place: str, said: str) -> None:
    layers = layer_chain(ConvNet(DIGITS, 3, (4, 5), depth=1))
    assert gate_units(layers, "dropout") == 5
    with pytest.raises(Refusal, match=said):
        gate_units(layers, place)


def test_an_input_is_gated_behind_its_flattening() -> None:
    for network in (MLP(DIGITS, 3), nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(64, 2))):
        layers = layer_chain(network)
        flat = next(name for name, layer in layers if isinstance(layer, nn.Flatten))
        with pytest.raises(Refusal, match=f"the input is flattened by '{flat}': put the gate there, not at"):
            gate_units(layers, "input")
    with pytest.raises(Refusal, match="would stand in front of BatchNorm2d"):
        gate_units(layer_chain(nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3))), "input")
    with pytest.raises(Refusal, match="have been removed already"):
        gate_units(layer_chain(nn.Sequential(Select(3), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))), "2")
