"""Real removal: the dense network that is left when units of a network are always zero."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ibsuite.nn.chain import INPUT, WEIGHTED, Layers, Scale, Select, inputs, outputs, units_behind

Alive = list[Tensor | None]


class NothingLeftError(ValueError):
    """A place has no unit left."""


@torch.no_grad()
def small_network(layers: Layers, scales: Mapping[str, Tensor]) -> nn.Sequential:
    """The network without its dead units: the same outputs from smaller layers.

    A dead unit goes with its row of weights and its batch norm in the layers before, and its column in the
    next one. A channel goes when nothing of it is left behind the flattening; the flattened features and the
    inputs that are left are selected by index. Other scales are multiplied into the weights behind them; in
    front of a max pool, through which a negative factor cannot pass, a ``Scale`` stays.

    Args:
        layers: of the network, as ``layer_chain`` gives them; they are copied, not changed.
        scales: factor of every unit behind the layers of these names (``input``: in front of the first); 0
            is dead. The places are such as ``gate_units`` allows.

    Raises:
        NothingLeftError: a place has no unit left.
        ValueError: a place has as many scales as it has not units, or units have been removed before.
    """
    if any(isinstance(layer, Select | Scale) for _, layer in layers):
        raise ValueError("units of this network have been removed already; start from the full network")
    before, after = _alive(layers, scales)
    like = next(layer.weight for _, layer in layers if isinstance(layer, WEIGHTED))
    small: list[nn.Module] = []
    pending: Tensor | None = None  # factors that have not found weights to go into yet
    if before[0] is not None:
        _select(small, before[0])
    if INPUT in scales:
        assert before[0] is not None
        pending = scales[INPUT][before[0]]
    for i, (name, layer) in enumerate(layers):
        reading, giving = before[i], after[i]
        if isinstance(layer, WEIGHTED):
            assert reading is not None
            assert giving is not None
            small.append(_smaller(layer, giving, reading, pending))
            pending = None
        elif isinstance(layer, _BatchNorm):
            assert giving is not None
            small.append(_smaller_norm(layer, giving))
        elif isinstance(layer, nn.Flatten):
            assert giving is not None
            small.append(nn.Flatten())
            left = giving if reading is None else giving[_spread(reading, len(giving))]
            _select(small, left)
            if pending is not None and reading is not None:
                pending = pending.repeat_interleave(len(giving) // len(reading))[left]
        else:
            if isinstance(layer, nn.MaxPool2d) and pending is not None and bool((pending < 0).any()):
                small.append(_scale(pending, like))
                pending = None
            small.append(copy.deepcopy(layer))
        if name in scales:
            assert giving is not None
            own = scales[name][giving]
            pending = own if pending is None else pending * own
    network = nn.Sequential(*small)
    kernels = [layer.weight for _, layer in layers if isinstance(layer, nn.Conv2d)]
    if any(not k.is_contiguous() and k.is_contiguous(memory_format=torch.channels_last) for k in kernels):
        network.to(memory_format=torch.channels_last)
    return network


def _alive(layers: Layers, scales: Mapping[str, Tensor]) -> tuple[Alive, Alive]:
    """Which units have to be there in front of and behind every layer; None: only the input knows."""
    counts = units_behind(layers)
    first = next(layer for _, layer in layers if isinstance(layer, (*WEIGHTED, nn.Flatten)))
    device = next(layer.weight.device for _, layer in layers if isinstance(layer, WEIGHTED))
    alive: Tensor | None = None
    if isinstance(first, WEIGHTED):
        alive = torch.ones(inputs(first), dtype=torch.bool, device=device)
    before: Alive = []
    after: Alive = []

    def gated(place: str, units: Tensor | None) -> Tensor | None:
        if place not in scales:
            return units
        scale = scales[place]
        if units is None or len(units) != len(scale):
            raise ValueError(
                f"{place!r} has {len(scale)} scales for {units if units is None else len(units)} units"
            )
        left = units & (scale != 0)
        if not left.any():
            raise NothingLeftError(
                f"all {len(scale)} units at {place!r} are dead, there or at the gate before"
            )
        return left

    alive = gated(INPUT, alive)
    for (name, layer), count in zip(layers, counts, strict=True):
        before.append(alive)
        if isinstance(layer, WEIGHTED):
            alive = torch.ones(outputs(layer), dtype=torch.bool, device=device)
        elif isinstance(layer, nn.Flatten):
            assert count is not None
            whole = torch.ones(count, dtype=torch.bool, device=device)
            alive = whole if alive is None else _spread(alive, count)
        alive = gated(name, alive)
        after.append(alive)
    # Back again: a channel that has nothing left behind the flattening is not needed either.
    for i in reversed(range(len(layers))):
        layer, giving = layers[i][1], after[i]
        if isinstance(layer, WEIGHTED) or before[i] is None:
            continue
        assert giving is not None
        if isinstance(layer, nn.Flatten):
            giving = giving.view(len(before[i]), -1).any(1)  # type: ignore[arg-type]
        before[i] = giving
        if i:
            after[i - 1] = giving
    return before, after


def _spread(channels: Tensor, features: int) -> Tensor:
    """Something of every channel, said of each of its flattened features."""
    return channels.repeat_interleave(features // len(channels))


def _select(small: list[nn.Module], left: Tensor) -> None:
    if not left.all():
        select = Select(int(left.sum()))
        select.indices = left.nonzero().flatten()
        small.append(select)


def _scale(factors: Tensor, like: Tensor) -> Scale:
    scale = Scale(len(factors)).to(like)
    scale.weight.copy_(factors)
    return scale


def _smaller(
    layer: nn.Linear | nn.Conv2d, giving: Tensor, reading: Tensor, factors: Tensor | None
) -> nn.Module:
    """A linear or convolution layer from the units that are left to those that are left."""
    small = copy.deepcopy(layer)
    weight = layer.weight.detach()[giving][:, reading]
    if factors is not None:
        shape = (1, -1, *(1,) * (weight.ndim - 2))
        weight = (weight.double() * factors.double().view(shape)).to(weight.dtype)
    small.weight = nn.Parameter(weight.clone(), layer.weight.requires_grad)
    if layer.bias is not None:
        small.bias = nn.Parameter(layer.bias.detach()[giving].clone(), layer.bias.requires_grad)
    if isinstance(small, nn.Linear):
        small.in_features, small.out_features = int(reading.sum()), int(giving.sum())
    elif isinstance(small, nn.Conv2d):
        small.in_channels, small.out_channels = int(reading.sum()), int(giving.sum())
    return small


def _smaller_norm(norm: _BatchNorm, giving: Tensor) -> nn.Module:
    small = copy.deepcopy(norm)
    small.num_features = int(giving.sum())
    for name, tensor in [*norm._parameters.items(), *norm._buffers.items()]:
        if tensor is not None and tensor.ndim == 1:
            left = tensor.detach()[giving].clone()
            learnt = name in norm._parameters
            setattr(small, name, nn.Parameter(left, tensor.requires_grad) if learnt else left)
    return small
