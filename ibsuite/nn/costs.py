"""What a network costs to keep and to run: weights, activations, multiply-accumulates."""

from typing import NamedTuple

import torch
from torch import nn

from ibsuite.nn.chain import PASSING, WEIGHTED, Layers, Select, layer_chain

POOLS = tuple(
    kind for kind in PASSING if kind not in (Select, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity)
)


class Costs(NamedTuple):
    """Costs of one input's way through a network."""

    weights: int
    """Entries of weight matrices and kernels, without biases, scales and shifts; r_W is a ratio of these."""
    activations: int
    """Floats at run time: maps, pools, flattened features, hidden units; neither the image nor the output.
    r_N is a ratio of these."""
    macs: int
    """Multiply-accumulates of linear and convolution layers."""
    architecture: str
    """Widths from the flattened input or first convolution to the last hidden layer: ``784-300-100``,
    ``20-50-800-500``."""


def costs(network: nn.Module, input_shape: tuple[int, ...]) -> Costs:
    """Costs of ``network`` for one input, as the papers on structured pruning count them.

    A selection behind a flattening counts as the flattening that it cuts down. Batch norm, activations and
    dropout work in place and count nothing.

    Source: the definitions by which the tables of Louizos et al. 2017 and Dai et al. 2018 can be recomputed.

    Args:
        network: a chain of layers.
        input_shape: of one input.

    Raises:
        Refusal: the network is no chain.
    """
    layers = layer_chain(network)
    last = max(i for i, (_, layer) in enumerate(layers) if isinstance(layer, WEIGHTED))
    shapes = _shapes(layers, input_shape)
    weights = activations = macs = 0
    widths: list[int] = []
    for i, (_, layer) in enumerate(layers[: last + 1]):
        reading, giving = shapes[i], shapes[i + 1]
        behind_flat = i > 0 and isinstance(layers[i - 1][1], nn.Flatten)
        cut = isinstance(layers[min(i + 1, last)][1], Select)
        if isinstance(layer, WEIGHTED):
            kernel: torch.Tensor = layer.weight
            weights += kernel.numel()
            macs += kernel.numel() * giving[1:].numel()
            if i < last:
                widths.append(giving[0])
                activations += giving.numel()
        elif isinstance(layer, POOLS):
            activations += giving.numel()
        elif (isinstance(layer, nn.Flatten) and not cut) or (isinstance(layer, Select) and behind_flat):
            activations += giving.numel()
            if not widths or isinstance(layer, Select) or reading[1:].numel() > 1:
                widths.append(giving[0])
    return Costs(weights, activations, macs, "-".join(map(str, widths)))


@torch.no_grad()
def _shapes(layers: Layers, input_shape: tuple[int, ...]) -> list[torch.Size]:
    """Shape of one input, and of what every layer makes of it."""
    like: torch.Tensor = next(layer.weight for _, layer in layers if isinstance(layer, WEIGHTED))
    x = torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype)
    modes = [layer.training for _, layer in layers]
    shapes = [x.shape[1:]]
    try:
        for _, layer in layers:
            x = layer.eval()(x)
            shapes.append(x.shape[1:])
    finally:
        for mode, (_, layer) in zip(modes, layers, strict=True):
            layer.train(mode)
    return shapes
