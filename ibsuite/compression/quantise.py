"""Scalar quantisers: a tensor of few values, on a uniform grid or in a codebook fitted to it."""

import math

import numpy as np
import torch
from torch import Tensor

from ibsuite.compression.kmeans import SortedWeights, checked_importances, lloyd, weighted_kmeans
from ibsuite.interface import Quantised

GREATEST_SYMBOL = 2**31 - 1


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
    left, zero = weights[weights != 0], weights.new_zeros(1)
    values = torch.cat([left, zero]).unique()
    if len(values) > levels:
        values = _around_zero(left, levels)
    return _coded(_nearest(weights, _float16(values)), tensor.shape)


def _around_zero(weights: Tensor, levels: int) -> Tensor:
    """The better of the codebooks, zero among their values, to which two starts lead."""
    points = SortedWeights(weights.numpy(), np.ones(len(weights)), np.zeros(len(weights)))
    quantiles = ((np.arange(levels - 1) + 0.5) * points.size / (levels - 1)).astype(np.int64)
    linear = np.linspace(points.weights[0], points.weights[-1], levels - 1)
    ends = []
    for start in (linear, points.weights[quantiles]):
        values = torch.from_numpy(lloyd(points, np.union1d(start, [0.0]), levels, pinned=0.0)[0])
        ends.append((float((weights - _nearest(weights, values)).square().sum()), values))
    return min(ends, key=lambda end: end[0])[1]


def quantise_clusters(
    tensor: Tensor, clusters: int, quadratic: Tensor | None = None, quartic: Tensor | None = None
) -> Quantised:
    """``tensor`` in a codebook fitted to the weights that are not zero, at the least cost of moving these.

    The codebook is that of ``weighted_kmeans``, for sum_i I_i (w_i - c_i)^2 + H_i (w_i - c_i)^4, rounded to
    float16; each weight other than zero takes the nearest of its values, and zeros, as pruned weights
    are, stay zero. Zero is sent in any case, but is no value of the codebook, unless one is rounded to it.
    Symbols are numbered in the order of their values, 0 for zero; values that no weight takes vanish. Where
    there are fewer than ``clusters`` different weights beside zero, these are the codebook.

    Args:
        tensor: any shape, floating point.
        clusters: values beside zero, at least one.
        quadratic: I, of the tensor's shape, >= 0; None: 1.
        quartic: H, of the tensor's shape, >= 0; None: 0.

    Raises:
        ValueError: no cluster; weights or importances are not finite, or importances negative or of
            another shape; a weight is too large for float16.

    Source: Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), Algorithm 2.
    """
    if clusters < 1:
        raise ValueError(f"A codebook needs at least one value; got clusters={clusters}.")
    weights, quadratics, quartics = checked_importances(tensor, quadratic, quartic)
    left = np.flatnonzero(weights)
    taken = torch.zeros(tensor.numel(), dtype=torch.float64)
    if left.size:
        points, *importances = (torch.from_numpy(x[left]) for x in (weights, quadratics, quartics))
        clusters = min(clusters, len(points.unique()))
        taken[left] = _nearest(points, _float16(weighted_kmeans(points, clusters, *importances).values))
    return _coded(taken, tensor.shape)


def _float16(values: Tensor) -> Tensor:
    """Values, float64, sorted, rounded to those of float16."""
    values = (values.half() + 0.0).double().unique()  # + 0.0: a tiny negative value becomes zero, not -0.0
    if values.isinf().any():
        raise ValueError("A weight is too large for a codebook of float16 values; use a uniform grid.")
    return values


def _nearest(weights: Tensor, values: Tensor) -> Tensor:
    """The nearest of sorted values to every weight."""
    return values[torch.bucketize(weights, (values[1:] + values[:-1]) / 2)]


def _coded(taken: Tensor, shape: torch.Size) -> Quantised:
    """Values that weights have taken, float64, as symbols and a codebook."""
    codebook, places = torch.cat([taken, taken.new_zeros(1)]).unique(return_inverse=True)
    return Quantised((places[:-1] - places[-1]).reshape(shape), 1.0, codebook.half())
