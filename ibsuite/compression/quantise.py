"""Scalar quantisers: a tensor of few values, on a uniform grid or in a codebook fitted to it."""

import math

import torch
from torch import Tensor

from ibsuite.interface import Quantised

GREATEST_SYMBOL = 2**31 - 1
ROUNDS = 1000


def _check_finite(tensor: Tensor) -> None:
    if not tensor.isfinite().all():
        raise ValueError("A weight that is not finite cannot be quantised.")


def quantise_uniform(tensor: Tensor, step: float) -> Quantised:
    """``tensor`` rounded to the nearest multiple of ``step``; an error of half a step at most.

    Args:
        tensor: any shape, floating point.
        step: > 0; rounded to bfloat16 before it is used, as it is sent so.

    Raises:
        ValueError: ``step`` is not positive in bfloat16, or so small that an integer passes 2^31 - 1; a
            weight is not finite.
    """
    _check_finite(tensor)
    step = float(torch.tensor(step, dtype=torch.bfloat16))
    if not 0 < step < math.inf:
        raise ValueError(f"step must be a positive bfloat16 number, got {step}")
    symbols = (tensor.detach().double() / step).round()
    if symbols.numel() and float(symbols.abs().max()) > GREATEST_SYMBOL:
        raise ValueError(f"A step of {step} is too fine for weights as large as these; use a coarser one.")
    return Quantised(symbols.to(torch.int64).cpu(), step)


def lloyd(weights: Tensor, values: Tensor) -> Tensor:
    """One-dimensional k-means by Lloyd's algorithm, with zero as a value that does not move.

    Each round gives every weight to its nearest value and moves each value, other than zero, to the mean
    of its weights, until none moves, or for 1,000 rounds. A value without weights vanishes. The sum
    of squared errors never grows.

    Args:
        weights: (n,), float64, sorted.
        values: (k,), float64, sorted, the values to start from, zero among them.

    Returns:
        (at most k,), float64, sorted, zero among them.
    """
    sums = torch.cat([weights.new_zeros(1), weights.cumsum(0)])
    ends = torch.tensor([0, len(weights)])
    for _ in range(ROUNDS):
        edges = torch.searchsorted(weights, (values[1:] + values[:-1]) / 2)
        edges = torch.cat([ends[:1], edges, ends[1:]])
        counts = edges.diff()
        keep = (counts > 0) | (values == 0)
        means = torch.where(values == 0, 0.0, sums[edges].diff() / counts.clamp(min=1))
        moved = means[keep].sort().values
        if torch.equal(moved, values):
            break
        values = moved
    return values


def _squared_error(weights: Tensor, values: Tensor) -> float:
    nearest = values[torch.bucketize(weights, (values[1:] + values[:-1]) / 2)]
    return float((weights - nearest).square().sum())


def quantise_kmeans(tensor: Tensor, levels: int) -> Quantised:
    """``tensor`` in a codebook of zero and at most ``levels`` - 1 other values, fitted by k-means.

    Lloyd's algorithm, zero staying where it is for the sake of pruned weights, from two starts: values
    equally spaced between the least and the greatest weight (Han et al. 2016, arXiv 1510.00149), and
    quantiles of the weights that are not zero; the smaller error counts. Values are rounded to float16,
    and each weight takes the nearest. Symbols are numbered in the order of their values, 0 for zero;
    values that no weight takes vanish, so that zeros alone have a codebook of zero alone. Where there are
    no more than ``levels`` different values, these are the codebook.

    Args:
        tensor: any shape, floating point.
        levels: entries of the codebook, zero among them.

    Raises:
        ValueError: fewer than two levels; a weight is not finite, or too large for float16.
    """
    if levels < 2:
        raise ValueError(f"A codebook needs at least two entries, zero and another; got levels={levels}.")
    _check_finite(tensor)
    weights = tensor.detach().double().cpu().flatten()
    left, zero = weights[weights != 0].sort().values, weights.new_zeros(1)
    values = torch.cat([left.unique(), zero]).unique()
    if len(values) > levels:
        quantiles = ((torch.arange(levels - 1) + 0.5) * len(left) / (levels - 1)).long()
        linear = torch.linspace(float(left[0]), float(left[-1]), levels - 1, dtype=torch.float64)
        starts = [lloyd(left, torch.cat([start, zero]).unique()) for start in (linear, left[quantiles])]
        values = min(starts, key=lambda values: _squared_error(left, values))
    values = (values.half() + 0.0).double().unique()  # + 0.0: a tiny negative value becomes zero, not -0.0
    if values.isinf().any():
        raise ValueError("A weight is too large for a codebook of float16 values; use a uniform grid.")
    places = torch.bucketize(weights, (values[1:] + values[:-1]) / 2)
    at_zero = torch.searchsorted(values, zero)
    used, places = torch.cat([places, at_zero]).unique(return_inverse=True)
    return Quantised((places[:-1] - places[-1]).reshape(tensor.shape), 1.0, values[used].half())
