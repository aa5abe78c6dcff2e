"""Magnitude pruning: the smallest weights become zero."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor


def _keep_largest(magnitudes: Tensor, sparsity: float) -> Tensor:
    """Which of (n,) magnitudes survive; all but the round(sparsity n) smallest."""
    keep = torch.ones_like(magnitudes, dtype=torch.bool)
    keep[magnitudes.sort(stable=True).indices[: round(sparsity * len(magnitudes))]] = False
    return keep


def prune(
    tensors: Mapping[str, Tensor], sparsity: float, scope: Literal["network", "tensor"] = "network"
) -> dict[str, Tensor]:
    """Copies of ``tensors`` with a share of their weights set to zero, those of least magnitude.

    Weights are tensors with two dimensions or more; biases and scales come back as they are. Exactly
    round(sparsity n) of n weights are zeroed, those that are zero already among them; of equal
    magnitudes the earlier goes first, in the order of ``tensors``, row-major. Han et al. 2015
    (arXiv 1506.02626), with one threshold for the network or one for each tensor.

    Args:
        tensors: by name.
        sparsity: share of the weights, in [0, 1].
        scope: "network": the smallest of all tensors together; "tensor": that share of each.

    Raises:
        ValueError: ``sparsity`` is out of range, or a weight is not finite.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie in [0, 1], got {sparsity}")
    weights = {name: tensor for name, tensor in tensors.items() if tensor.ndim > 1}
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name!r} holds a weight that is not finite; it cannot be pruned.")
    sizes = [tensor.numel() for tensor in weights.values()]
    magnitudes = [tensor.detach().abs().flatten().double() for tensor in weights.values()]
    if scope == "network" and magnitudes:
        keeps = list(_keep_largest(torch.cat(magnitudes), sparsity).split(sizes))
    else:
        keeps = [_keep_largest(magnitude, sparsity) for magnitude in magnitudes]
    kept = dict(zip(weights, keeps, strict=True))
    return {
        name: torch.where(kept[name].reshape(tensor.shape), tensor, 0).detach()
        if name in kept
        else tensor.detach().clone()
        for name, tensor in tensors.items()
    }
