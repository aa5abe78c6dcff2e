"""Mean squares of the inputs of layers: what a change of their weights does to their outputs."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ibsuite.compression.tape import patches
from ibsuite.interface import Classifier, LabelledInputs, Refusal

WORKSPACE_BYTES = 2**27


@torch.no_grad()
def layer_grams(
    module: nn.Module, data: LabelledInputs, rows: Tensor, batch_size: int = 500
) -> dict[str, Tensor]:
    """Mean square of the inputs of every linear and convolution layer, E[x x'], (d, d), float64.

    d is the number of input features, or of input channels times the kernel's positions. The mean is over
    samples; positions of a map, and uses of a layer that occurs more than once, are summed. ``module`` is in
    evaluation mode meanwhile. Layers through which no logits pass are left out.

    Args:
        module: a method, a :class:`Classifier`.
        data: where inputs come from.
        rows: positions of the inputs in ``data``, (n,), int64.
        batch_size: inputs at once.

    Returns:
        By the name of the layer's weight in ``module.named_parameters()``, on the module's device.

    Raises:
        Refusal: a convolution has groups; a layer's weight is no parameter; there are no rows.
    """
    if not isinstance(module, Classifier):
        raise Refusal(f"{type(module).__name__} has no logits; give a method whose networks classify.")
    if not len(rows):
        raise Refusal("Inputs of layers cannot be averaged over no rows; give at least one.")
    names = {id(weight): name for name, weight in module.named_parameters()}
    grams: dict[str, Tensor] = {}

    def add(name: str, layer: nn.Linear | nn.Conv2d, inputs: tuple[Any, ...]) -> None:
        x: Tensor = inputs[0].double()
        # A map unfolds into as many copies of itself as a kernel has positions: a few samples at a time.
        samples = max(1, WORKSPACE_BYTES // (8 * x[0].numel() * layer.weight[0, 0].numel()))
        for part in x.split(samples):
            met = patches(layer, part).flatten(0, 2)
            square = met.mT @ met / len(rows)
            grams[name] = grams[name] + square if name in grams else square

    modes = {child: child.training for child in module.modules()}
    handles = []
    module.eval()
    try:
        for place, layer in module.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            if id(layer.weight) not in names:
                raise Refusal(f"The weight of {place} is computed from other tensors; it cannot be replaced.")
            if isinstance(layer, nn.Conv2d) and layer.groups != 1:
                raise Refusal(f"{place} is a convolution with {layer.groups} groups; only one is supported.")
            handles.append(layer.register_forward_pre_hook(partial(add, names[id(layer.weight)])))
        device = next(module.parameters()).device
        for some in rows.split(batch_size):
            module.logits(data.inputs(some, device))
    finally:
        for handle in handles:
            handle.remove()
        for child, mode in modes.items():
            child.training = mode
    return grams
