"""Removal: the small network computes what the masked one does, and is as small as brute force says."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ibsuite.nn import (
    MLP,
    VGG8,
    VGG13,
    ConvNet,
    LeNet,
    TinyCNN,
    assert_no_shared_storage,
    gate_places,
    gate_units,
    layer_chain,
    named_tensors,
    small_network,
)
from ibsuite.nn.chain import GlobalAverage, Layers, Scale, Select
from ibsuite.nn.gates import INPUT, gated

Scales = dict[str, Tensor]
DIGITS, COLOURED = (1, 8, 8), (3, 8, 8)


def sequence(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def padded(mode: str) -> nn.Module:
    return sequence(
        nn.Conv2d(3, 5, 3, padding=1, padding_mode=mode),
        nn.BatchNorm2d(5),
        nn.LeakyReLU(0.2),
        nn.Conv2d(5, 4, 3, stride=2, padding=(1, 2), dilation=2, padding_mode=mode, bias=False),
        nn.ELU(),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def pooled(pool: Callable[[], nn.Module]) -> nn.Module:
    return sequence(
        nn.Dropout2d(0.2),
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        pool(),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.SiLU(),
        nn.Identity(),
        pool(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(20, 6),
        nn.BatchNorm1d(6),
        nn.GELU(),
        nn.Linear(6, 3),
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "MLP": (lambda: MLP(DIGITS, 3, (9, 7), dropout=0.4), DIGITS, ()),
    "LeNet": (lambda: LeNet((3, 16, 16), 3, filters=(5, 6), hidden=(8, 7)), (3, 16, 16), (INPUT,)),
    "wide map": (lambda: LeNet(DIGITS, 3, padding=2, filters=(6,), hidden=(5,)), DIGITS, ("features.2",)),
    "ConvNet": (lambda: ConvNet((3, 9, 9), 3, (6, 7), dropout=0.2), (3, 9, 9), (INPUT, "dropout")),
    "TinyCNN": (lambda: TinyCNN(COLOURED, 3), COLOURED, (INPUT, "features.4")),
    "VGG8": (lambda: VGG8(DIGITS, 3, batch_norm=True), DIGITS, ("head.0",)),
    "zeros": (lambda: padded("zeros"), COLOURED, (INPUT, "5")),
    "circular": (lambda: padded("circular"), COLOURED, (INPUT,)),
    "reflect": (lambda: padded("reflect"), COLOURED, ("5",)),
    "average pool": (lambda: pooled(lambda: nn.AvgPool2d(2)), COLOURED, ("0", "3", "9")),
    "max pool": (lambda: pooled(lambda: nn.MaxPool2d(2)), COLOURED, ("0", "3", "6", "7", "9")),
    "overlapping pool": (lambda: pooled(lambda: nn.MaxPool2d(3, 2, 1)), COLOURED, (INPUT, "0", "7")),
    "vectors": (lambda: sequence(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3)), (9,), (INPUT,)),
    "norm of features": (
        lambda: sequence(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)),
        DIGITS,
        ("1",),
    ),
    "norm of a map": (
        lambda: sequence(nn.Conv2d(1, 5, 3), nn.Flatten(), nn.BatchNorm1d(180), nn.ReLU(), nn.Linear(180, 3)),
        DIGITS,
        ("3",),
    ),
    "pool of inputs": (
        lambda: sequence(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 3)),
        COLOURED,
        (),
    ),
    "averaged": (
        lambda: sequence(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), GlobalAverage(), nn.Linear(6, 3)),
        COLOURED,
        (INPUT, "2"),
    ),
}
SEEDS = {name: 1 if name == "VGG8" else 4 for name in NETWORKS}


@torch.no_grad()
def trained(name: str, seed: int) -> tuple[nn.Module, Tensor]:
    """A network in which nothing has its initial value, batch statistics included, and inputs."""
    torch.manual_seed(seed)
    make, shape, _ = NETWORKS[name]
    network = make().double()
    for parameter in network.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 3)
    return network.eval(), torch.randn(6, *shape, dtype=torch.float64)


def random_scales(layers: Layers, more: tuple[str, ...], seed: int) -> Scales:
    """Factors of both signs, some dead, at the usual places and more; some maps die behind flattenings."""
    draws = torch.Generator().manual_seed(seed)
    places = {*gate_places(layers), *more}
    scales: Scales = {}
    maps, left = 1, torch.tensor([True])  # units that the gates before have left, of one map or of many
    for name, layer in [(INPUT, nn.Identity()), *layers]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            left = torch.ones(len(layer.weight), dtype=torch.bool)
            maps = len(left) if isinstance(layer, nn.Conv2d) else 1
        if name not in places:
            continue
        units = gate_units(layers, name)
        left = left.repeat_interleave(units // len(left))
        alive = torch.rand(units, generator=draws) < (0.4 if units > 12 else 0.6)
        if isinstance(layer, nn.Flatten):
            alive.view(maps, -1)[left.view(maps, -1).any(1).nonzero().flatten()[1::2]] = False
        alive[left.nonzero()[0]] = True
        scales[name] = (torch.randn(units, generator=draws, dtype=torch.float64) + 0.3) * alive
        left = left & alive
    return scales


def masked(layers: Layers, scales: Scales, x: Tensor) -> Tensor:
    if INPUT in scales:
        x = gated(x, scales[INPUT][None])
    for name, layer in layers:
        x = layer(x)
        if name in scales:
            x = gated(x, scales[name][None].to(x.dtype))
    return x


CASES = [(name, seed) for name, seeds in SEEDS.items() for seed in range(seeds)]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_the_small_network_computes_what_the_masked_one_does(name: str, seed: int) -> None:
    network, x = trained(name, seed)
    layers = layer_chain(network)
    scales = random_scales(layers, NETWORKS[name][2], seed)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    small = small_network(layers, scales)
    with torch.no_grad():
        wanted = masked(layers, scales, x)
        torch.testing.assert_close(small(x), wanted, rtol=1e-10, atol=1e-10)
        assert not torch.equal(wanted, network(x))
        assert wanted.std() > 1e-3  # there is something to be compared
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert_no_shared_storage(named_tensors(small), named_tensors(network))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
    small.train()
    assert all(layer.training for _, layer in layer_chain(small))
    small(x).square().sum().backward()
    for key, parameter in small.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.shape == parameter.shape
        assert parameter.is_leaf


@pytest.mark.parametrize("name", ["MLP", "LeNet", "ConvNet", "max pool"])
def test_in_single_precision_it_is_the_same_to_rounding(name: str) -> None:
    network, x = trained(name, 9)
    network = network.float()
    layers = layer_chain(network)
    scales = {k: v.float() for k, v in random_scales(layers, NETWORKS[name][2], 9).items()}
    small = small_network(layers, scales)
    with torch.no_grad():
        wanted = masked(layers, scales, x.float())
        assert (small(x.float()) - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert all(p.dtype == torch.float32 for p in small.parameters())


@torch.no_grad()
def unread(network: nn.Module, scales: Scales, x: Tensor) -> dict[str, set[int]]:
    """Units of every weighted layer that can be set to anything without a trace, one by one."""
    layers = layer_chain(network)
    wanted, found = masked(layers, scales, x), {}
    for i, (name, layer) in enumerate(layers):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            free = set()
            for unit in range(len(layer.weight)):

                class Disturbed(nn.Module):
                    def forward(self, h: Tensor, layer: nn.Module = layer, unit: int = unit) -> Tensor:
                        h = layer(h).clone()
                        h[:, unit] += 1 + torch.rand_like(h[:, unit])
                        return h

                disturbed = [*layers[:i], (name, Disturbed()), *layers[i + 1 :]]
                if torch.equal(masked(disturbed, scales, x), wanted):
                    free.add(unit)
            found[name] = free
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["MLP", "LeNet", "wide map", "ConvNet", "average pool", "norm of a map"])
def test_sizes_are_those_that_brute_force_finds(name: str, seed: int) -> None:
    network, x = trained(name, seed)
    for layer in network.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
        if isinstance(layer, nn.ReLU):
            layer.forward = nn.LeakyReLU(0.3).forward  # no unit is dead for another reason
    layers = layer_chain(network)
    scales = random_scales(layers, NETWORKS[name][2], seed)
    free = unread(network, scales, x)
    small = [
        layer for _, layer in layer_chain(small_network(layers, scales)) if hasattr(layer, "in_features")
        or isinstance(layer, nn.Conv2d)
    ]  # fmt: skip
    wanted = [len(dict(layers)[where].weight) - len(units) for where, units in free.items()]
    assert [len(layer.weight) for layer in small] == wanted


def test_a_channel_goes_when_all_its_features_are_dead() -> None:
    network = sequence(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    layers = layer_chain(network)
    features = torch.ones(4, 36)
    features[1] = 0
    features[3, 1:] = 0
    small = small_network(layers, {"2": features.flatten(), "1": torch.tensor([1.0, 1.0, 0.0, 1.0])})
    kinds = [type(layer) for layer in small]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Flatten, Select, nn.Linear]
    assert small[0].weight.shape == (2, 1, 3, 3)
    assert small[0].out_channels == 2
    assert small[3].indices.tolist() == list(range(37))
    assert (small[4].in_features, small[4].out_features) == (37, 3)


def test_a_negative_factor_stays_in_front_of_a_max_pool_only() -> None:
    for pool, sign, scaled in ((nn.MaxPool2d, -1, True), (nn.MaxPool2d, 1, False), (nn.AvgPool2d, -1, False)):
        network = sequence(nn.Conv2d(1, 2, 3), nn.ReLU(), pool(2), nn.Flatten(), nn.Linear(18, 3)).eval()
        scales = {"1": torch.tensor([1.5, sign * 0.5])}
        small = small_network(layer_chain(network), scales)
        assert any(isinstance(layer, Scale) for layer in small) is scaled
        x = torch.randn(5, 1, 8, 8)
        torch.testing.assert_close(small(x), masked(layer_chain(network), scales, x))


def test_layers_keep_their_settings() -> None:
    network, _ = trained("max pool", 0)
    network[4].weight.requires_grad_(False)
    network[11].bias.requires_grad_(False)
    network.train()
    network[1].eval()
    layers = layer_chain(network)
    small = small_network(layers, {"7": torch.tensor([1.0, 0, 0, 2, 3])})
    assert [type(a) for a in small] == [type(b) for b in network]
    assert [layer.training for layer in small] == [layer.training for layer in network]
    assert not small[4].weight.requires_grad
    assert small[4].bias.requires_grad
    assert not small[11].bias.requires_grad
    assert small[4].padding == (1, 1)
    assert small[9].p == 0.3


def test_the_memory_format_is_kept() -> None:
    for network, wanted in ((ConvNet(COLOURED, 3, (6, 7)), True), (TinyCNN(COLOURED, 3), False)):
        layers = layer_chain(network)
        place = gate_places(layers)[0]
        scale = torch.ones(gate_units(layers, place))
        scale[::2] = 0
        small = small_network(layers, {place: scale})
        kernels = [layer.weight for layer in small if isinstance(layer, nn.Conv2d)]
        assert all(k.is_contiguous(memory_format=torch.channels_last) is wanted for k in kernels)
        assert all(k.is_contiguous() is not wanted for k in kernels)


def test_nothing_dead_leaves_the_network_as_it_was() -> None:
    network, x = trained("LeNet", 0)
    layers = layer_chain(network)
    ones = {place: torch.ones(gate_units(layers, place)) for place in gate_places(layers)}
    for scales in ({}, ones):
        small = small_network(layers, scales)
        assert torch.equal(small(x), network(x))
        assert [type(layer) for layer in small] == [type(layer) for _, layer in layers]


def test_what_cannot_be_removed_is_refused() -> None:
    network, _ = trained("LeNet", 0)
    layers = layer_chain(network)
    with pytest.raises(ValueError, match=r"all 5 units at 'features.1' are dead"):
        small_network(layers, {"features.1": torch.zeros(5)})
    with pytest.raises(ValueError, match=r"all 3 units at 'input' are dead"):
        small_network(layers, {INPUT: torch.zeros(3)})
    with pytest.raises(ValueError, match=r"'features.1' has 4 scales for 5 units"):
        small_network(layers, {"features.1": torch.ones(4)})
    wide, _ = trained("wide map", 0)  # 6 maps of 4 x 4
    features = torch.ones(96)
    features[5] = 0
    for full, scales in ((network, {INPUT: torch.tensor([0.0, 1, 1])}), (wide, {"head.layers.0": features})):
        small = small_network(layer_chain(full), scales)
        with pytest.raises(ValueError, match="removed already; start from the full network"):
            small_network(layer_chain(small), {})


def test_what_two_gates_leave_nothing_of_is_refused() -> None:
    """Every gate has a living unit, but none of them meet behind the flattening."""
    network = sequence(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    half = torch.zeros(2, 36)
    half[0] = 1
    with pytest.raises(ValueError, match="all 72 units at '2' are dead, there or at the gate before"):
        small_network(layer_chain(network), {"1": torch.tensor([0.0, 1.0]), "2": half.flatten()})


def test_a_big_network_is_cut_where_it_is_told() -> None:
    network = VGG13((3, 32, 32), 10).eval()
    layers = layer_chain(network)
    scales = {}
    for place in gate_places(layers):
        scales[place] = torch.zeros(gate_units(layers, place))
        scales[place][1::16] = 1.0
    small = small_network(layers, scales)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(small(x), masked(layers, scales, x), rtol=1e-4, atol=1e-5)
    widths = [len(layer.weight) for layer in small if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert widths == [4, 4, 8, 8, *[16] * 3, *[32] * 6, 32, 10]
