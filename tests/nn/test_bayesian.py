"""Gaussian weights: what is swapped, samplings that agree with the weights' distribution, fixed draws."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.interface import Refusal
from ibsuite.nn import (
    MLP,
    VGG8,
    ConvNet,
    LeNet,
    TinyCNN,
    fixed_weights,
    make_bayesian,
    posterior,
    pristine_state,
    recenter,
    reset_network,
)
from ibsuite.nn.bayesian import BayesianConv2d, GaussianOutput

torch.set_num_threads(1)
DIGITS = (1, 8, 8)
SAMPLINGS = ("weights", "local", "flipout")
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(3, 2), (3,)),
    "linear without bias": (lambda: nn.Linear(3, 2, bias=False), (3,)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2), (2, 6, 5)),
    "circular": (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular", bias=False), (1, 4, 4)),
}


def layer(kind: str, sampling: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A Bayesian layer with scales of all sizes, and two inputs."""
    torch.manual_seed(seed)
    make, shape = LAYERS[kind]
    network = make()
    make_bayesian(network, 0.3, sampling)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("_rho"):
                parameter += torch.randn_like(parameter)
    return network, torch.randn(2, *shape)


def enumerated(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the output from its linearity: a basis weight at a time."""
    tensors = posterior(network)
    names, means = list(tensors), [mean.detach() for mean, _ in tensors.values()]

    def output(values: list[Tensor]) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), x)

    network.eval()
    with torch.no_grad():
        variance = torch.zeros_like(output(means))
        for i, (_, std) in enumerate(tensors.values()):
            for j in range(std.numel()):
                unit = [torch.zeros_like(mean) for mean in means]
                unit[i].view(-1)[j] = std.detach().flatten()[j]
                variance += output(unit).square()
        mean = output(means)
    network.train()
    return mean, variance


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_have_the_mean_and_variance_that_the_weights_give(kind: str, sampling: str) -> None:
    network, x = layer(kind, sampling)
    mean, variance = enumerated(network, x)
    n = 2000
    with torch.no_grad():
        draws = torch.stack([network(x) for _ in range(n)])
    z = (draws.mean(0) - mean) / (variance / n).sqrt()
    assert z.abs().max() < 4.5  # of up to 96 outputs
    ratio = draws.var(0) / variance
    assert (ratio - 1).abs().max() < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradients_are_those_of_graves(sampling: str) -> None:
    """For f = sum_o h_o (y_o - t_o)^2 / 2 the expectation has a closed form in means and scales; Graves 2011:
    grad_mean E f = E df/dw and grad_rho E f = E[df/dw (w - mean) / std sigmoid(rho)]."""
    network, x = layer("linear", sampling, 3)
    network, x = network.double(), x[:1].double()
    target, h = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([0.5, 2.0]).double()
    mean, std = posterior(network)["weight"]
    bias, bias_std = posterior(network)["bias"]
    closed = (
        h * ((x @ mean.T + bias - target).square() + x.square() @ std.square().T + bias_std**2)
    ).sum() / 2
    parameters = list(network.parameters())
    expected = torch.autograd.grad(closed, parameters)
    with torch.no_grad():  # the identity itself: E[h w_ij-dependent part] is h std^2 x^2 / std sigmoid(rho)
        graves = h[:, None] * x.square() * std * torch.sigmoid(network.weight_rho)
    names = [name for name, _ in network.named_parameters()]
    torch.testing.assert_close(expected[names.index("weight_rho")], graves)
    n = 1500
    draws = []
    for _ in range(n):
        loss = (h * (network(x) - target).square()).sum() / 2
        draws.append(torch.autograd.grad(loss, parameters))
    for found, wanted in zip(zip(*draws, strict=True), expected, strict=True):
        found = torch.stack(found)
        assert ((found.mean(0) - wanted) / (found.std(0) / math.sqrt(n))).abs().max() < 4.5


def test_gaussian_output_has_the_gradient_of_its_formula() -> None:
    mean, variance = torch.randn(4, 3, 2, 2).double(), torch.rand(4, 3, 2, 2).double() + 0.1
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = [t.to(memory_format=layout).requires_grad_() for t in (mean, variance)]

        def draw(m: Tensor, v: Tensor) -> Tensor:
            torch.manual_seed(5)
            return GaussianOutput.apply(m, v)

        assert torch.autograd.gradcheck(draw, inputs)
        noise = ((draw(*inputs) - inputs[0]) / inputs[1].sqrt()).detach()
        doubled = ((draw(inputs[0], 4 * inputs[1]) - inputs[0]) / (2 * inputs[1].sqrt())).detach()
        torch.testing.assert_close(noise, doubled)


def test_flipout_and_local_draw_for_each_sample_and_weights_for_all() -> None:
    correlation = {}
    for sampling in SAMPLINGS:
        network, x = layer("linear", sampling)
        with torch.no_grad():
            draws = torch.stack([network(x[:1].expand(2, -1))[:, 0] for _ in range(500)])
        correlation[sampling] = float(torch.corrcoef(draws.T)[0, 1])
    assert correlation["weights"] == pytest.approx(1)
    assert abs(correlation["local"]) < 0.2
    assert abs(correlation["flipout"]) < 0.2


def test_a_network_is_what_it_was_but_for_its_scales() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(32, 3))
    network.to(memory_format=torch.channels_last)
    x = torch.randn(4, *DIGITS)
    plain, before = network(x), dict(network.named_parameters())
    make_bayesian(network, 0.05)
    assert isinstance(network[0], BayesianConv2d)
    assert isinstance(network[0], nn.Conv2d)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(network.eval()(x), plain)  # the means
    after = dict(network.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    for name, parameter in before.items():
        torch.testing.assert_close(F.softplus(after[f"{name}_rho"]), torch.full_like(parameter, 0.05))
    assert len(after) == 2 * len(before)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: MLP(DIGITS, 3, (5,)), DIGITS),
        (lambda: LeNet(DIGITS, 3, padding=2), DIGITS),
        (lambda: TinyCNN(DIGITS, 3), DIGITS),
        (lambda: VGG8(DIGITS, 3), DIGITS),
        (lambda: nn.Linear(2, 3), (2,)),
    ],
    ids=["MLP", "LeNet", "TinyCNN", "VGG8", "linear"],
)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_our_networks_train_and_go_back(
    make: Callable[[], nn.Module], shape: tuple[int, ...], sampling: str
) -> None:
    network = make()
    make_bayesian(network, 0.05, sampling)
    pristine = pristine_state(network)
    x = torch.randn(3, *shape)
    torch.manual_seed(1)
    reset_network(network, pristine)
    fresh = pristine_state(network)
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    F.cross_entropy(network(x), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    optimiser.step()
    assert any(not torch.equal(fresh[name], tensor) for name, tensor in pristine_state(network).items())
    torch.manual_seed(1)
    reset_network(network, pristine)
    assert all(torch.equal(fresh[name], tensor) for name, tensor in pristine_state(network).items())
    assert all(float(std.detach().max()) == pytest.approx(0.05) for _, std in posterior(network).values())


def test_what_nobody_would_pay_for_is_refused() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    refused = [
        (ConvNet(DIGITS, 3), r"ConvNet keeps 'features.1'.* without batch norm"),
        (VGG8(DIGITS, 3, batch_norm=True), "VGG8 keeps 'features.1'"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False, track_running_stats=False)), "'1'"),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "keeps '1.weight'"),
        (nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 3, 3)), "keeps '1.weight'"),
        (tied, "shares weights"),
        (nn.Flatten(), "no linear or convolution layer"),
    ]
    for network, message in refused:
        kinds = [type(module) for module in network.modules()]
        with pytest.raises(Refusal, match=message):
            make_bayesian(network)
        assert kinds == [type(module) for module in network.modules()]  # and left alone
    with pytest.raises(Refusal, match="initial_std must be positive"):
        make_bayesian(nn.Linear(2, 2), 0.0)


def test_a_draw_depends_on_the_seed_and_nothing_else() -> None:
    network = LeNet(DIGITS, 3, padding=2)
    make_bayesian(network, 0.1)
    x = torch.randn(8, *DIGITS)

    def logits(seed: int | None, rows: Tensor) -> Tensor:
        with fixed_weights(network, seed), torch.no_grad():
            return network(rows)

    whole = logits(7, x)
    torch.rand(3)  # the global generator does not matter, nor the mode, nor how inputs are batched
    for mode in (True, False):
        network.train(mode)
        torch.testing.assert_close(logits(7, x), whole)
        torch.testing.assert_close(torch.cat([logits(7, part) for part in x.split(3)]), whole)
        assert not torch.allclose(logits(8, x), whole, atol=1e-3)
        assert not torch.allclose(logits(None, x), whole, atol=1e-3)
    with torch.no_grad():
        assert torch.equal(logits(None, x), network.eval()(x))
        assert torch.equal(network(x), network(x))
        assert not torch.equal(network.train()(x), network(x))


def test_draws_have_the_posteriors_moments_and_tensors_differ() -> None:
    network = nn.Sequential(nn.Linear(40, 50), nn.Linear(40, 50))
    make_bayesian(network, 0.1)
    draws = []
    for seed in range(2):
        with fixed_weights(network, seed):
            draws += [(layer.fixed[0] - layer.weight).detach() / 0.1 for layer in network]
        assert network[0].fixed is None
    for i, one in enumerate(draws):
        assert abs(float(one.mean())) < 4 / math.sqrt(2000)
        assert float(one.std()) == pytest.approx(1, abs=4 / math.sqrt(4000))
        assert all(abs(float((one * two).mean())) < 4 / math.sqrt(2000) for two in draws[:i])


def test_a_prior_centred_at_the_initialisation_follows_a_fresh_one() -> None:
    network = MLP((4,), 3, (5,))
    make_bayesian(network, center="initialisation")
    pristine = pristine_state(network)
    assert all(not mean.any() for mean, _ in posterior(network).values())
    with torch.no_grad():
        network.layers[1].weight += 0.25
    torch.testing.assert_close(posterior(network)["layers.1.weight"].mean, torch.full((5, 4), 0.25))
    reset_network(network, pristine)
    assert posterior(network)["layers.1.weight"].mean.any()  # drawn anew, and the centre still the old one
    recenter(network)
    assert all(not mean.any() for mean, _ in posterior(network, exact=True).values())
    assert posterior(network, exact=True)["layers.1.bias"].std.dtype == torch.float64
