"""I(X; T) and I(Y; T) of T = f(X) + Gaussian noise, by the mixture of the Gaussians around f(x); no training.

Given the inputs, the density of T is known: a Gaussian around the output of each. Drawing T once for every
input and looking up these densities says more than pairwise distances (``kernel_bounds``) and costs as much.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.information.estimates import Estimate, Kind
from ibsuite.units import nats_to_bits

ROUNDING = 1e-9
"""Bits by which a sum may pass what it cannot pass."""


class MixtureInformation(NamedTuple):
    """What a mixture of n Gaussians says, bits."""

    mi_xt_lower: Estimate
    """Lower bound on I(X; T), at most log2 n; an unbiased estimate where X is one of these n inputs."""
    mi_xt_upper: Estimate
    """Upper bound on I(X; T): no draw is compared with its own input."""
    mi_yt_lower: Estimate
    """Lower bound on I(Y; T), at most the entropy of the labels' frequencies."""


def mixture_information(
    centres: Tensor, noisy: Tensor, noise_std: float, labels: Tensor, num_classes: int, chunk: int = 1024
) -> MixtureInformation:
    """Bounds on I(X; T) and I(Y; T) by one draw t_i of T for each of n inputs, bits, float64.

    With k_ij the density of t_i around f(x_j)::

        I(X; T) >= E_i[log k_ii - log 1/n sum_j k_ij]               of these n inputs
        I(X; T) <= E_i[log k_ii - log 1/(n-1) sum_{j != i} k_ij]    a cross-entropy less h(T | X)
        I(Y; T) >= H(Y) + E_i[log q(y_i | t_i)]                     q: share of k_ij of j != i with that label

    q is mixed with the frequencies of the labels, one part in n. Each holds in expectation over independent
    inputs, for a map f that has not been fitted to them: one that has learnt them by heart knows more of
    their labels than of others'.

    Args:
        centres: f(x), (n, d).
        noisy: t = f(x) + noise, one draw for each input, (n, d).
        noise_std: standard deviation of every coordinate of the noise, positive.
        labels: y, (n,), int64.
        num_classes: values of the label.
        chunk: rows of the distance matrix at a time.

    Raises:
        ValueError: fewer than two inputs, shapes that differ, or noise that is not positive.

    Source: Kolchinsky & Tracey 2017 for the mixture; the cross-entropies of Elad et al. 2019, equation 3.
    """
    n = len(centres)
    if centres.ndim != 2 or n < 2 or noisy.shape != centres.shape or labels.shape != (n,):
        raise ValueError(
            f"centres and noisy must be (n, d) of at least two inputs and labels (n,), got "
            f"{tuple(centres.shape)}, {tuple(noisy.shape)} and {tuple(labels.shape)}"
        )
    if not noise_std > 0:
        raise ValueError("noise must be positive: without it I(X; T) is infinite")
    middle = centres.double().mean(0)  # large common parts would cancel in the products below
    t, f = ((each.double() - middle) / noise_std for each in (noisy, centres))
    members = torch.nn.functional.one_hot(labels, num_classes).to(t)
    frequencies = members.mean(0)
    lower, upper, relevance = [], [], []
    for start in range(0, n, chunk):
        rows = torch.arange(start, min(start + chunk, n), device=t.device)
        squares = t[rows].square().sum(1)[:, None] + f.square().sum(1) - 2 * t[rows] @ f.T
        log_k = -0.5 * squares
        own = -0.5 * (t[rows] - f[rows]).square().sum(1)
        log_k = log_k.scatter(1, rows[:, None], own[:, None])
        lower.append(own - log_k.logsumexp(1) + math.log(n))
        others = log_k.scatter(1, rows[:, None], -math.inf)
        upper.append(own - others.logsumexp(1) + math.log(n - 1))
        shares = others.softmax(1) @ members
        q = (1 - 1 / n) * shares + frequencies / n
        known = labels[rows, None]
        relevance.append((q.gather(1, known) / frequencies[known[:, 0], None]).log()[:, 0])
    entropy_bits = nats_to_bits(float(torch.special.entr(frequencies).sum()))
    return MixtureInformation(
        _estimate(Kind.LOWER, lower, math.log2(n) + ROUNDING),
        _estimate(Kind.UPPER, upper, math.inf),
        _estimate(Kind.LOWER, relevance, entropy_bits + ROUNDING),
    )


def _estimate(kind: Kind, parts: list[Tensor], ceiling_bits: float) -> Estimate:
    """The mean of nats a draw."""
    nats = torch.cat(parts)
    error = nats_to_bits(float(nats.std())) / math.sqrt(len(nats))
    return Estimate(kind, math.nan, nats_to_bits(float(nats.mean())), ceiling_bits, standard_error_bits=error)
