"""Pruning: the weights of least magnitude, or those that cost least, become zero."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor


def _keep_dearest(costs: Tensor, sparsity: float) -> Tensor:
    """Which of (n,) weights survive; all but the round(sparsity n) cheapest."""
    keep = torch.ones_like(costs, dtype=torch.bool)
    keep[costs.sort(stable=True).indices[: round(sparsity * len(costs))]] = False
    return keep


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with two dimensions or more, all of them finite."""
    weights = {name: tensor.detach() for name, tensor in tensors.items() if tensor.ndim > 1}
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name!r} holds a weight that is not finite; it cannot be pruned.")
    return weights


def _checked(name: str, what: str, given: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """One of ``given``, float64, where the weight is."""
    tensor = given.get(name)
    if tensor is None or tensor.shape != weight.shape:
        raise ValueError(f"{name!r} needs {what} of its shape {tuple(weight.shape)}.")
    if not tensor.isfinite().all() or (tensor < 0).any():
        raise ValueError(f"{what.capitalize()} of {name!r} must be finite and not negative.")
    return tensor.detach().to(weight.device, torch.float64)


def zeroing_costs(
    tensors: Mapping[str, Tensor],
    quadratic: Mapping[str, Tensor] | None = None,
    quartic: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """What it costs to set a weight to zero, I w^2 + H w^4, float64, of tensors with two dimensions or more.

    Args:
        tensors: by name; others than weights are left out.
        quadratic: I, >= 0, of every weight's shape; None: 1.
        quartic: H, >= 0, of every weight's shape; None: 0.

    Raises:
        ValueError: a weight is not finite; importances are missing, not finite, negative or of another shape.

    Source: Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), Sections 6.1 and 6.2.
    """
    costs = {}
    for name, weight in _weights(tensors).items():
        squares = weight.double().square()
        costs[name] = (
            squares if quadratic is None else squares * _checked(name, "importances", quadratic, weight)
        )
        if quartic is not None:
            costs[name] = costs[name] + squares.square() * _checked(name, "importances", quartic, weight)
    return costs


def prune(
    tensors: Mapping[str, Tensor],
    sparsity: float,
    scope: Literal["network", "tensor"] = "network",
    costs: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Copies of ``tensors`` with a share of their weights set to zero, those for which that costs least.

    Weights are tensors with two dimensions or more; biases and scales come back as they are. Exactly
    round(sparsity n) of n weights are zeroed. Those that are zero already go first, whatever they cost; of
    equal costs the earlier goes first, in the order of ``tensors``, row-major. Han et al. 2015
    (arXiv 1506.02626), where magnitude is the cost; one threshold for the network or one for each tensor.

    Args:
        tensors: by name.
        sparsity: share of the weights, in [0, 1].
        scope: "network": the cheapest of all tensors together; "tensor": that share of each.
        costs: of setting each weight to zero, >= 0, of every weight's shape, as from ``zeroing_costs``;
            None: its magnitude.

    Raises:
        ValueError: ``sparsity`` is out of range, or a weight is not finite; costs are missing, not
            finite, negative or of another shape.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie in [0, 1], got {sparsity}")
    weights = _weights(tensors)
    ranks = []
    for name, weight in weights.items():
        cost = weight.abs().double() if costs is None else _checked(name, "costs", costs, weight)
        ranks.append(torch.where(weight == 0, -1.0, cost).flatten())  # zeros before what costs nothing
    if scope == "network" and ranks:
        keeps = list(_keep_dearest(torch.cat(ranks), sparsity).split([len(rank) for rank in ranks]))
    else:
        keeps = [_keep_dearest(rank, sparsity) for rank in ranks]
    kept = dict(zip(weights, keeps, strict=True))
    return {
        name: torch.where(kept[name].reshape(tensor.shape), tensor, 0).detach()
        if name in kept
        else tensor.detach().clone()
        for name, tensor in tensors.items()
    }
