"""Costs: the published sizes and shares, of networks that were really cut down to them."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from ibsuite.interface import Refusal
from ibsuite.nn import MLP, VGG13, ConvNet, Costs, LeNet, costs, gate_units, layer_chain, small_network

MNIST = (1, 28, 28)
FIELDS = ("features.1", "features.4", "head.layers.0", "head.layers.2")
"""Gates of LeNet-5-Caffe: filters, filters, flattened features, units."""


def cut(network: nn.Module, kept: Mapping[str, int]) -> nn.Sequential:
    """``network`` with so many units left at the places."""
    layers = layer_chain(network)
    scales = {}
    for place, number in kept.items():
        units = gate_units(layers, place)
        scales[place] = torch.zeros(units)
        scales[place][torch.linspace(0, units - 1, number).long()] = 1.0
    return small_network(layers, scales)


def lenet_5_caffe() -> nn.Module:
    return LeNet(MNIST, 10, filters=(20, 50), hidden=(500,))


def cut_lenet_5(filters: int, more: int, features: int, units: int) -> Costs:
    """LeNet-5-Caffe of such an architecture; the features are those of the filters that are left."""
    layers = layer_chain(lenet_5_caffe())
    scales = {name: torch.zeros(gate_units(layers, name)) for name in FIELDS}
    for name, number in zip(FIELDS, (filters, more, 0, units), strict=True):
        scales[name][:number] = 1.0
    of_filters = scales[FIELDS[2]].view(50, 16)
    of_filters[:more, : -(-features // more)] = 1.0  # something of every filter
    of_filters[:more].view(-1)[of_filters[:more].reshape(-1).nonzero().flatten()[features:]] = 0.0
    return costs(small_network(layers, scales), MNIST)


def test_full_networks_have_the_published_costs() -> None:
    assert costs(MLP(MNIST, 10, hidden=(300, 100)), MNIST) == (266_200, 1184, 266_200, "784-300-100")
    assert costs(lenet_5_caffe(), MNIST) == (430_500, 19_700, 2_293_000, "20-50-800-500")
    vgg = costs(VGG13((3, 32, 32), 10, batch_norm=True), (3, 32, 32))
    assert vgg.weights == 14_977_728
    assert round(vgg.macs / 1e6, 1) == 313.5


def test_the_published_row_of_lenet_300_100() -> None:
    small = cut(MLP(MNIST, 10, hidden=(300, 100)), {"layers.0": 97, "layers.2": 71, "layers.5": 33})
    found = costs(small, MNIST)
    assert found == (9560, 201, 9560, "97-71-33")
    assert round(100 * found.weights / 266_200, 2) == 3.59
    assert round(100 * found.activations / 1184, 2) == 16.98


@pytest.mark.parametrize(
    ("architecture", "activations_percent", "macs"),
    [((8, 13, 88, 13), 35.03, 0.283), ((5, 10, 76, 16), 22.80, 0.153)],
)
def test_published_rows_of_lenet_5(
    architecture: tuple[int, int, int, int], activations_percent: float, macs: float
) -> None:
    found = cut_lenet_5(*architecture)
    assert found.architecture == "-".join(map(str, architecture))
    assert round(100 * found.activations / 19_700, 2) == activations_percent
    assert round(found.macs / 1e6, 3) == macs
    c1, c2, features, units = architecture
    assert found.weights == 25 * c1 + 25 * c1 * c2 + features * units + units * 10


def test_costs_of_a_modern_network_are_those_of_its_layers() -> None:
    """3x3 convolutions 1-4-5 on 8x8, a pool between them, a global average, a linear layer."""
    network = ConvNet((1, 8, 8), 3, (4, 5), depth=1, dropout=0.5).double()
    found = costs(network, (1, 8, 8))
    assert found.weights == 9 * 4 + 9 * 4 * 5 + 5 * 3
    assert found.macs == 64 * 9 * 4 + 16 * 9 * 4 * 5 + 5 * 3
    assert found.activations == 64 * 4 + 16 * 4 + 16 * 5 + 5
    assert found.architecture == "4-5"


def test_a_negative_scale_and_lost_inputs_are_no_weights() -> None:
    layers = layer_chain(lenet_5_caffe())
    one = torch.ones(20)
    wanted = costs(small_network(layers, {FIELDS[0]: one}), MNIST)
    assert costs(small_network(layers, {FIELDS[0]: -one}), MNIST) == wanted
    coloured = ConvNet((3, 8, 8), 3, (4,), depth=1)
    found = costs(cut(coloured, {"input": 2}), (3, 8, 8))
    assert found == (9 * 2 * 4 + 12, 64 * 4 + 4, 64 * 9 * 2 * 4 + 12, "4")


def test_nothing_changes_by_counting() -> None:
    network = ConvNet((1, 8, 8), 3, (4,))
    network.features[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [layer.training for layer in network.modules()]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    costs(network, (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.training for layer in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(RuntimeError):
        costs(network, (2, 8, 8))
    assert [layer.training for layer in network.modules()] == modes


def test_outputs_are_not_counted() -> None:
    """A network whose logits are averages of maps, and one without hidden units."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.AvgPool2d(4), nn.Flatten())
    assert costs(network, (1, 8, 8)) == (9 * 4 + 9 * 12, 36 * 4, 36 * 9 * 4 + 16 * 9 * 12, "4")
    assert costs(nn.Sequential(nn.Linear(5, 3)), (5,)) == (15, 0, 15, "")


def test_what_is_no_chain_has_no_costs() -> None:
    with pytest.raises(Refusal, match="has the layer '1'"):
        costs(nn.Sequential(nn.Linear(3, 3), nn.Softmax(1), nn.Linear(3, 2)), (3,))
