"""Samples of a pair (X, Y): checked, split in three, and brought to normal marginals."""

from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.seeds import generator

KNOTS = 20


class Parts(NamedTuple):
    """Which samples are for what; no two parts share one."""

    fit: Tensor
    """Rows that parameters are fitted to, int64."""
    validation: Tensor
    """Rows that say when to stop."""
    heldout: Tensor
    """Rows that are looked at once, for the value that is quoted."""


def paired(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (n, dimensions) of finite numbers, detached.

    Args:
        x: (n,) or (n, ...), of any type.
        y: the same samples' other part, (n,) or (n, ...).

    Raises:
        ValueError: the numbers of samples differ, there is only one, or a value is not finite.
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"x and y must be the same samples, at least two, got {len(x)} and {len(y)}")
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise ValueError("samples are not finite; look at the network that made them")
    return x.detach().reshape(len(x), -1), y.detach().reshape(len(y), -1)


def split(n: int, seed: int, validation: float = 0.1, heldout: float = 0.3) -> Parts:
    """Three parts of n samples, drawn by the seed.

    Args:
        n: number of samples.
        seed: of the draw.
        validation: share of samples that say when to stop.
        heldout: share of samples for the value that is quoted.

    Raises:
        ValueError: a part would have fewer than two samples.
    """
    sizes = [round(validation * n), round(heldout * n)]
    if min(*sizes, n - sum(sizes)) < 2:
        raise ValueError(f"{n} samples cannot be split in three; give more of them or larger shares")
    rows = torch.randperm(n, generator=generator(seed, n))
    return Parts(*rows.split([n - sum(sizes), *sizes]))


def normal_scores(reference: Tensor, values: Tensor) -> Tensor:
    """Each coordinate mapped so that the reference has nearly normal marginals, float64; I stays as it is.

    The map of a coordinate runs straight from knot to knot, (quantile of the reference, of the normal
    distribution), and straight on at both ends. It is continuous and strictly increasing, so that I(X; Y) of
    what is mapped is the same, whatever the reference; a fit should take the reference from its own samples.
    Knots are few, and none is among the ten outermost samples: from there on it would be mostly noise.

    Args:
        reference: samples that the quantiles are taken from, (n, d).
        values: samples to be mapped, (m, d).

    Raises:
        ValueError: there are fewer than 40 samples in the reference, or a coordinate has hardly two values.
    """
    if len(reference) < 40:
        raise ValueError(f"normal scores need at least 40 samples, got {len(reference)}")
    end = torch.special.ndtri(torch.tensor(1 - 10 / len(reference), dtype=torch.float64))
    scores = torch.linspace(-1, 1, KNOTS, dtype=torch.float64, device=reference.device) * end
    columns = []
    for known, column in zip(reference.double().T, values.double().T, strict=True):
        knots, of_scores = torch.quantile(known, torch.special.ndtr(scores)).unique(return_inverse=True)
        if len(knots) < 2:
            raise ValueError("a coordinate of the samples is nearly constant: leave it out, or do not map it")
        # Where quantiles coincide, the knot stands for the middle of their scores.
        means = torch.zeros_like(knots).scatter_reduce(0, of_scores, scores, "mean", include_self=False)
        left = (torch.searchsorted(knots, column.contiguous()) - 1).clamp(0, len(knots) - 2)
        slope = (means[left + 1] - means[left]) / (knots[left + 1] - knots[left])
        columns.append(means[left] + slope * (column - knots[left]))
    return torch.stack(columns, 1)
