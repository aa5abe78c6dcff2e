"""A network as the chain of layers that an input passes, one after another."""

import operator
from collections.abc import Iterator
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ibsuite.interface import Refusal

INPUT = "input"
"""The place in front of the first layer; no layer has this name."""


class GlobalAverage(nn.Module):
    """The mean of every map, (n, c, h, w) -> (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        """Means of the maps."""
        return x.mean((2, 3))


class Select(nn.Module):
    """Some of the channels or features of its input, the others being read by nobody.

    Args:
        units: how many there are.
    """

    indices: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units
        self.register_buffer("indices", torch.arange(units))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs at the indices, (n, c, ...) -> (n, units, ...)."""
        return x.index_select(1, self.indices)


class Scale(nn.Module):
    """A factor for every channel or feature.

    Args:
        units: how many there are.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units
        self.weight = nn.Parameter(torch.ones(units))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs times their factors, (n, units, ...)."""
        return x * self.weight.view(-1, *(1,) * (x.ndim - 2))


WEIGHTED = (nn.Linear, nn.Conv2d)
"""Layers that mix units."""
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh)
"""Applied unit by unit; a zero stays a zero."""
PASSING = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, GlobalAverage, Select, nn.Flatten,
    nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
"""Applied unit by unit, or move units; a positive factor may be taken before or behind them."""
KNOWN = (*WEIGHTED, _BatchNorm, *ACTIVATIONS, *PASSING, Scale)
OWN = (GlobalAverage, Select, Scale)
Layers = list[tuple[str, nn.Module]]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Our own small layers are layers, too."""
        return isinstance(m, OWN) or super().is_leaf_module(m, module_qualified_name)


def layer_chain(network: nn.Module) -> Layers:
    """The layers of ``network`` and their names, in the order in which an input passes them.

    The layers are those of the network itself, not copies; what its ``forward`` computes without a module (a
    ReLU, a flattening, a 2-d max pool, the mean of a map) becomes a layer without parameters, named after
    its place in the traced program. A layer without tensors may stand in several places (one ReLU for all);
    the later ones have a number in their names.

    Raises:
        Refusal: the network is no chain, or has layers of which nobody knows what removing a unit would do.
    """
    name = type(network).__name__
    try:
        graph = _Tracer().trace(network)
    except Exception as error:
        raise Refusal(f"{name} cannot be read as a chain of layers: {error}") from error
    layers: Layers = []
    names, tensors = {INPUT}, set[int]()
    before: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder" and before is None:
            before = node
            continue
        if node.op == "output":
            if node.args[0] is not before:
                raise Refusal(f"{name} must give the output of its last layer and nothing else")
            break
        if _is_batch_size(node):
            continue  # of x.view(x.size(0), -1)
        read = [other for other in node.all_input_nodes if not _is_batch_size(other)]
        if before is None or read != [before] or sum(not _is_batch_size(n) for n in before.users) != 1:
            raise Refusal(
                f"{name} is not a chain at {node.name!r}: units can be removed where each layer has one "
                "input and one reader, as in MLP, LeNet, VGG or ConvNet"
            )
        before = node
        for where, layer in _layer(network, node):
            own = {id(tensor) for tensor in (*layer.parameters(), *layer.buffers())}
            if own & tensors:
                raise Refusal(
                    f"{name} uses the weights of the layer {where!r} twice: a unit that one place does not "
                    "need may be needed at the other; give every place weights of its own"
                )
            tensors |= own
            where = _unused(where, names)
            names.add(where)
            layers.append((where, _known(layer, name, where)))
    return layers


def _layer(network: nn.Module, node: fx.Node) -> Iterator[tuple[str, nn.Module]]:
    """The layer of one node of the traced program; none where it only changes the memory format."""
    if node.op == "call_module":
        yield str(node.target), network.get_submodule(str(node.target))
        return
    target, arguments = node.target, node.args[1:]
    if target == "contiguous":
        return
    if target in ("relu", F.relu, torch.relu):
        yield node.name, nn.ReLU()
    elif _flattens_samples(node):
        yield node.name, nn.Flatten()
    elif target in ("mean", torch.mean) and _averages_maps(arguments, node.kwargs):
        yield node.name, GlobalAverage()
    elif target is F.max_pool2d:
        yield node.name, nn.MaxPool2d(*arguments, **node.kwargs)  # type: ignore[arg-type]
    else:
        raise Refusal(
            f"{type(network).__name__} computes {node.name!r} without a module; use the layers of torch.nn"
        )


def _flattens_samples(node: fx.Node) -> bool:
    """Whether every sample becomes one row: by ``flatten``, or by a view (x.size(0), -1) or (-1, n)."""
    arguments = node.args[1:]
    if node.target in ("flatten", torch.flatten):
        given = {**dict(zip(("start_dim", "end_dim"), arguments, strict=False)), **node.kwargs}
        return bool(given.pop("start_dim", 0) == 1 and given.pop("end_dim", -1) == -1)
    if node.target not in ("view", "reshape") or len(arguments) != 2:
        return False
    first, second = arguments
    return bool(second == -1 if isinstance(first, fx.Node) else first == -1 and isinstance(second, int))


def _is_batch_size(node: fx.Node) -> bool:
    """Whether a node of the traced program is ``x.size(0)`` or ``x.shape[0]``, or on the way there."""
    if node.target == "size":
        return bool(node.args[1:] == (0,))
    if node.target is operator.getitem:
        of, place = node.args
        return isinstance(of, fx.Node) and _is_batch_size(of) and bool(place == 0)
    return bool(node.target is getattr and node.args[1] == "shape")


def _averages_maps(arguments: tuple, keywords: dict[str, Any]) -> bool:
    """Whether ``mean`` with these makes one number of every map."""
    given = {**dict(zip(("dim", "keepdim"), arguments, strict=False)), **keywords}
    dims = given.pop("dim", None)
    return (
        isinstance(dims, tuple | list) and sorted(d % 4 for d in dims) == [2, 3] and not any(given.values())
    )


def _unused(name: str, names: set[str]) -> str:
    """``name``, with a number where there is a layer of that name already."""
    return next(n for n in chain([name], (f"{name}_{i}" for i in count(2))) if n not in names)


def _removable(layer: nn.Module) -> bool:
    """Whether it is known what removing units of ``layer`` does."""
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        return False
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return False
    if isinstance(layer, WEIGHTED) and "weight" not in layer._parameters:
        return False  # its weight is computed from other tensors
    return isinstance(layer, KNOWN)


def _known(layer: nn.Module, network: str, where: str) -> nn.Module:
    if not _removable(layer):
        raise Refusal(
            f"{network} has the layer {where!r}, {layer}, from which units cannot be removed; linear layers, "
            "convolutions in one group, batch norm, ReLU and the like, pools, flattening and dropout can do"
        )
    return layer


def outputs(layer: nn.Module) -> int:
    """Number of units that a linear or convolution layer gives."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels  # type: ignore


def inputs(layer: nn.Module) -> int:
    """Number of units that a linear or convolution layer takes."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels  # type: ignore


def units_behind(layers: Layers) -> list[int | None]:
    """Number of channels or features behind every layer; None where only the input knows."""
    found: list[int | None] = []
    units: int | None = None
    for i, (_, layer) in enumerate(layers):
        if isinstance(layer, WEIGHTED):
            units = outputs(layer)
        elif isinstance(layer, nn.Flatten):
            units = next((inputs(later) for _, later in layers[i:] if isinstance(later, WEIGHTED)), None)
            if i + 1 < len(layers) and isinstance(layers[i + 1][1], Select):
                units = None  # what is selected from is not written in any weight
        elif isinstance(layer, Select):
            units = layer.units
        found.append(units)
    return found
