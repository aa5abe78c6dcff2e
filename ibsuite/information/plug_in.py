"""Mutual information without a model: nearest neighbours (KSG) and bins. Plug-ins, bits."""

import math

import torch
from torch import Tensor

from ibsuite.information.estimates import Estimate, Kind
from ibsuite.information.samples import paired
from ibsuite.units import nats_to_bits


def ksg(x: Tensor, y: Tensor, neighbours: int = 3) -> Estimate:
    """I(X; Y) by nearest neighbours, a plug-in, bits.

    I = psi(k) + psi(n) - mean[psi(n_x + 1) + psi(n_y + 1)]: the k-th neighbour in the larger of the two
    distances (each a maximum over coordinates) lies at e_i, and n_x, n_y are how many others are nearer than
    e_i in x and in y alone. No value exceeds psi(k) + psi(n) - 2 psi(1), about log n; far below it the
    estimate is already too small where the density changes within e_i, as it does in many dimensions.

    Args:
        x: (n, ...), continuous.
        y: (n, ...), continuous.
        neighbours: k.

    Raises:
        ValueError: too few samples, or so many equal ones that a neighbour is at distance zero.

    Source: Kraskov, Stogbauer & Grassberger 2004, equation 8 (estimator 1).
    """
    from sklearn.neighbors import KDTree, NearestNeighbors

    a, b = (each.double().cpu().numpy() for each in paired(x, y))
    n = len(a)
    if not 0 < neighbours < n:
        raise ValueError(f"neighbours must lie between 1 and {n - 1}, got {neighbours}")
    joint = torch.cat([torch.from_numpy(a), torch.from_numpy(b)], 1).numpy()
    search = NearestNeighbors(n_neighbors=neighbours, metric="chebyshev").fit(joint)
    radius = search.kneighbors()[0][:, -1]  # without points: a sample is not its own neighbour
    if not (radius > 0).all():
        raise ValueError("equal samples are at distance zero: KSG is for continuous X and Y, use bins")
    inside = torch.nextafter(torch.from_numpy(radius), torch.zeros(()).double()).numpy()
    counts = [KDTree(each, metric="chebyshev").query_radius(each, inside, count_only=True) for each in (a, b)]
    psi = torch.special.digamma(torch.tensor([neighbours, n, 1], dtype=torch.float64))
    # A tree counts the point itself: that is n_x + 1.
    means = [torch.special.digamma(torch.from_numpy(each).double()).mean() for each in counts]
    nats = float(psi[0] + psi[1] - means[0] - means[1])
    ceiling = nats_to_bits(float(psi[0] + psi[1] - 2 * psi[2]))
    return Estimate(Kind.PLUG_IN, math.nan, nats_to_bits(nats), ceiling)


def binned(x: Tensor, y: Tensor, bins: int = 30) -> Estimate:
    """I(X; Y) after equal bins in every coordinate, a plug-in, bits.

    Integers are taken as they are. The table of counts is too informative by about (cells - rows - columns
    + 1) / 2n nats, and with nearly every sample in a cell of its own the value is log2 n whatever the truth:
    of a deterministic layer in many dimensions it measures the bins.

    Args:
        x: (n, ...).
        y: (n, ...).
        bins: in each coordinate, from its least to its greatest value.

    Raises:
        ValueError: the samples do not match, or bins is not positive.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    codes = [_code(each, bins) for each in paired(x, y)]
    sizes = [int(each.max()) + 1 for each in codes]
    cells, counts = (codes[0] * sizes[1] + codes[1]).unique(return_counts=True)
    # Only cells that occur are stored: the table of two codes may have n^2 of them.
    rows, columns = (torch.bincount(each).double() for each in codes)
    n = len(codes[0])
    p = counts.double() / n
    ratio = p.log() - (rows[cells // sizes[1]] / n).log() - (columns[cells % sizes[1]] / n).log()
    bits = nats_to_bits(float((p * ratio).sum().clamp(min=0.0)))
    return Estimate(Kind.PLUG_IN, math.nan, bits, math.log2(n))


def _code(values: Tensor, bins: int) -> Tensor:
    """One integer for each sample, equal where all its coordinates fall into the same bins."""
    values = values.cpu()
    if values.is_floating_point():
        low, high = values.amin(0), values.amax(0)
        width = torch.where(high > low, high - low, 1.0)
        values = ((values - low) / width * bins).floor().clamp(max=bins - 1).long()
    return values.unique(dim=0, return_inverse=True)[1]
