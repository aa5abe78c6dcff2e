"""Networks read as chains: the composition is the forward pass, and what is no chain is refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from ibsuite.interface import Refusal
from ibsuite.nn import MLP, VGG8, VGG13, ConvNet, LeNet, TinyCNN, layer_chain
from ibsuite.nn.chain import GlobalAverage, units_behind

DIGITS = (1, 8, 8)


class Written(nn.Module):
    """A network of one convolution and one linear layer, whose forward pass is given."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.layer_norm = nn.LayerNorm([4, 8, 8])
        self.late = nn.Flatten(2)
        self.input = nn.Conv2d(1, 4, 3, padding=1)
        self.few = nn.Linear(4, 3)
        self.many = nn.Linear(256, 3)
        self.pooled = nn.Linear(64, 3)
        self.written = forward

    def forward(self, x: Tensor) -> Any:
        return self.written(self, x)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP": (lambda: MLP(DIGITS, 3, (5, 4), dropout=0.3), DIGITS),
    "LeNet": (lambda: LeNet((1, 16, 16), 3), (1, 16, 16)),
    "ConvNet": (lambda: ConvNet((3, 9, 9), 3, (4, 5), dropout=0.2), (3, 9, 9)),
    "TinyCNN": (lambda: TinyCNN(DIGITS, 3), DIGITS),
    "VGG8": (lambda: VGG8(DIGITS, 3, batch_norm=True), DIGITS),
    "VGG13": (lambda: VGG13((3, 32, 32), 3, conv_dropout=(0.3, 0.4)), (3, 32, 32)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (4,)),
    "functional": (lambda: Written(lambda n, x: n.many(F.relu(n.norm(n.conv(x))).flatten(1))), DIGITS),
    "methods": (lambda: Written(lambda n, x: n.few(n.conv(x).relu().contiguous().mean((-1, -2)))), DIGITS),
    "pool": (lambda: Written(lambda n, x: n.pooled(torch.flatten(F.max_pool2d(n.conv(x), 2), 1))), DIGITS),
    "small steps": (lambda: Written(lambda n, x: n.few(F.max_pool2d(n.conv(x), 2, 1).mean([2, 3]))), DIGITS),
    "odd pool": (
        lambda: Written(lambda n, x: n.few(F.max_pool2d(n.conv(x), 3, ceil_mode=True).mean(dim=(2, 3)))),
        DIGITS,
    ),
    "keywords": (lambda: Written(lambda n, x: n.many(n.conv(x).flatten(start_dim=1, end_dim=-1))), DIGITS),
    "one ReLU": (
        lambda: Written(lambda n, x: n.many(n.relu(n.other(n.relu(n.conv(x)))).flatten(1))),
        DIGITS,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_composition_of_the_layers_is_the_forward_pass(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network, x = make(), torch.randn(3, *shape)
    layers = layer_chain(network)
    assert len({where for where, _ in layers}) == len(layers)
    for training in (True, False):
        network.train(training)
        with torch.no_grad():
            torch.manual_seed(1)  # dropout
            wanted, composed = network(x), x
            torch.manual_seed(1)
            for _, layer in layers:
                composed = layer(composed)
        assert torch.equal(composed, wanted)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_the_networks_own_and_counted(name: str) -> None:
    make, shape = NETWORKS[name]
    network = make().eval()
    layers = layer_chain(network)
    own = dict(network.named_modules())
    x = torch.randn(2, *shape)
    for (where, layer), units in zip(layers, units_behind(layers), strict=True):
        assert not list(layer.parameters()) or own[where] is layer
        x = layer(x)
        assert units in (None, x.shape[1])
    assert units is not None


def test_one_relu_in_two_places_has_two_names() -> None:
    make, _ = NETWORKS["one ReLU"]
    layers = layer_chain(make())
    assert [where for where, _ in layers] == ["conv", "relu", "other", "relu_2", "flatten", "many"]
    assert layers[1][1] is layers[3][1]


def test_no_layer_is_called_as_the_input_or_as_another_one() -> None:
    found = layer_chain(Written(lambda n, x: n.few(n.relu(F.relu(n.input(x))).mean((2, 3)))))
    assert [where for where, _ in found] == ["input_2", "relu", "relu_2", "mean", "few"]


def test_a_network_without_any_layer_of_its_own_is_an_empty_chain() -> None:
    assert layer_chain(nn.Sequential()) == []
    ((_, only),) = layer_chain(nn.Sequential(GlobalAverage()))
    assert isinstance(only, GlobalAverage)


def residual(n: Any, x: Tensor) -> Tensor:
    h = n.conv(x)
    return n.few((h + n.other(h)).mean((2, 3)))


def by_value(n: Any, x: Tensor) -> Tensor:
    return n.few(n.conv(x).mean((2, 3))) if x.sum() > 0 else n.many(n.conv(x).flatten(1))


def with_features(n: Any, x: Tensor) -> tuple[Tensor, ...]:
    return (n.few(n.conv(x).mean((2, 3))),)


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "residual": (residual, "not a chain at 'other'"),
    "a convolution twice": (lambda n, x: n.other(n.other(n.conv(x))), "weights of the layer 'other' twice"),
    "a norm twice": (lambda n, x: n.norm(n.other(n.norm(n.conv(x)))), "weights of the layer 'norm' twice"),
    "groups": (lambda n, x: n.grouped(n.conv(x)), "has the layer 'grouped'"),
    "layer norm": (lambda n, x: n.layer_norm(n.conv(x)), "has the layer 'layer_norm'"),
    "another flattening": (lambda n, x: n.late(n.conv(x)), "has the layer 'late'"),
    "control flow": (by_value, "cannot be read as a chain"),
    "a tuple": (with_features, "must give the output of its last layer"),
    "a forgotten layer": (lambda n, x: (n.conv(x), n.input(x))[0], "not a chain at 'conv'"),
    "arithmetic": (lambda n, x: n.few(n.conv(x).mean((2, 3))) + 1, "computes 'add' without a module"),
    "a mean of rows": (lambda n, x: n.conv(x).mean(2), "computes 'mean' without"),
    "a mean that keeps": (lambda n, x: n.conv(x).mean((2, 3), keepdim=True), "computes 'mean' without"),
    "flattened samples": (lambda n, x: n.conv(x).flatten(end_dim=1), "computes 'flatten' without"),
    "flattened maps": (lambda n, x: n.conv(x).flatten(1, 2), "computes 'flatten' without"),
    "functional dropout": (
        lambda n, x: n.few(F.dropout(n.conv(x), 0.5, n.training).mean((2, 3))),
        "computes 'dropout' without",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_is_refused_by_its_place(name: str) -> None:
    forward, said = REFUSED[name]
    with pytest.raises(Refusal, match=said) as refused:
        layer_chain(Written(forward))
    assert "Written" in str(refused.value)


def test_two_inputs_and_shared_or_computed_weights_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(Refusal, match="not a chain at 'y'"):
        layer_chain(Two())
    tied = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    with pytest.raises(Refusal, match="weights of the layer '2' twice"):
        layer_chain(tied)
    twice = nn.Linear(3, 3)
    with pytest.raises(Refusal, match="twice"):
        layer_chain(nn.Sequential(twice, nn.ReLU(), twice))
    for computed in (
        parametrizations.weight_norm(nn.Linear(3, 3)),
        prune.random_unstructured(nn.Linear(3, 3), "weight", 0.5),
    ):
        with pytest.raises(Refusal, match="has the layer '1'"):
            layer_chain(nn.Sequential(nn.Flatten(), computed))


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: x.view(-1, 64),
    ],
    ids=["size", "shape", "number"],
)
def test_a_view_that_keeps_samples_is_a_flattening(flatten: Any) -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(flatten(x))

    network = Viewing()
    layers = layer_chain(network)
    assert [type(layer) for _, layer in layers] == [nn.Flatten, nn.Linear]
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(nn.Sequential(*(layer for _, layer in layers))(x), network(x))


@pytest.mark.parametrize("other", [lambda x: x.view(2, -1), lambda x: x.view(x.size(1), -1)])
def test_another_view_is_refused(other: Any) -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(other(x))

    with pytest.raises(Refusal):
        layer_chain(Mixing())
