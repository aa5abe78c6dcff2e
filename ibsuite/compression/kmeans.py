"""One-dimensional k-means: plain, weighted by importances, and with a quartic term."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

ROUNDS = 1000
BLOCK = 256
"""Neighbouring weights whose sums are kept."""
STRETCHES = 128
"""Stretches of sorted weights that the exact start does not divide: of each of three kinds, at least."""


class Clusters(NamedTuple):
    """Weights in clusters, and a value for each of these."""

    values: Tensor
    """(k,), float64, sorted."""
    labels: Tensor
    """Which of the values each weight takes, the nearest, int64, of the weights' shape."""
    objective: float
    """What moving every weight to its value costs in all."""
    trace: list[float]
    """The same after every assignment, on the way from the best start."""


def checked_importances(
    tensor: Tensor, quadratic: Tensor | None, quartic: Tensor | None
) -> tuple[Floats, Floats, Floats]:
    """Weights and their importances I and H, flattened, float64; without them 1 and 0.

    Raises:
        ValueError: a weight or an importance is not finite, an importance is negative or of another shape, or
            what moving a weight costs is too large for a float64.
    """
    arrays = []
    for name, given, other in (("weight", tensor, 0), ("quadratic", quadratic, 1), ("quartic", quartic, 0)):
        given = torch.full_like(tensor, other) if given is None else given
        if given.shape != tensor.shape:
            shapes = f"{tuple(given.shape)} for weights of shape {tuple(tensor.shape)}"
            raise ValueError(f"Importances must have the shape of the weights; {name} has shape {shapes}.")
        if not given.isfinite().all():
            what = "A weight" if name == "weight" else f"A {name} importance"
            raise ValueError(f"{what} that is not finite cannot be quantised.")
        if name != "weight" and (given < 0).any():
            raise ValueError(f"Importances must not be negative; {name} has one that is.")
        arrays.append(given.detach().double().cpu().flatten().numpy())
    weights, quadratics, quartics = arrays
    with np.errstate(over="ignore", invalid="ignore"):
        reach = 2 * np.abs(weights).max(initial=0)
        if not np.isfinite(moving_costs(np.full_like(weights, reach), quadratics, quartics).sum()):
            raise ValueError("Weights and importances are too large together; scale the importances down.")
    return weights, quadratics, quartics


def moving_costs(distances: Floats, quadratic: Floats, quartic: Floats) -> Floats:
    """I d^2 + H d^4 of each weight."""
    squares = distances * distances
    return (quadratic + quartic * squares) * squares


def _power_sums(distances: Floats, quadratic: Floats, quartic: Floats, starts: Places) -> Floats:
    """Sums of I d^p, p = 0..2, and of H d^p, p = 0..4, from each start to the next, (8, len(starts))."""
    sums = np.empty((8, len(starts)))
    row = 0
    for importance, highest in ((quadratic, 2), (quartic, 4)):
        term = importance
        for p in range(highest + 1):
            sums[row] = np.add.reduceat(term, starts)
            row += 1
            term = term * distances if p < highest else term
    return sums


def _shifted(sums: Floats, by: Floats) -> Floats:
    """Power sums after ``by`` was added to every distance."""
    a0, a1, a2, b0, b1, b2, b3, b4 = sums
    return np.stack(
        [
            a0,
            a1 + by * a0,
            a2 + by * (2 * a1 + by * a0),
            b0,
            b1 + by * b0,
            b2 + by * (2 * b1 + by * b0),
            b3 + by * (3 * b2 + by * (3 * b1 + by * b0)),
            b4 + by * (4 * b3 + by * (6 * b2 + by * (4 * b1 + by * b0))),
        ]
    )


def cubic_roots(sums: Floats) -> Floats:
    """Where a cluster's value costs least, as a distance from where its power sums were taken.

    The root x of half the derivative of sum_i I_i (x - d_i)^2 + H_i (x - d_i)^4,

        2 B0 x^3 - 6 B1 x^2 + (6 B2 + A0) x - (2 B3 + A1) = 0,    A_p = sum I d^p, B_p = sum H d^p.

    About the mean B1 / B0, y = x - B1 / B0, it is B0 y^3 + P y = Q, where P = 3 B2 + A0 / 2 >= 0 and
    Q = B3 + A1 / 2 are of the distances from that mean: the left side grows everywhere, so there is one root,

        y = (Q / P) 3 sinh(asinh(t) / 3) / t,    t = (3 Q / 2 P) sqrt(3 B0 / P),

    which becomes the weighted mean as B0 -> 0. Newton steps, as long as they lessen the derivative, remove
    what rounding did to it. Where all importances are 0 the root is 0.

    Args:
        sums: of each cluster, (8, clusters): A0, A1, A2, B0, ..., B4.

    Source: Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), Algorithm 2.
    """
    a0, _, _, b0, b1, b2, _, _ = sums
    x = _closed_form(sums)
    with np.errstate(all="ignore"):
        for _ in range(3):
            step = _slope(sums, x) / (a0 + 6 * (b2 - x * (2 * b1 - x * b0)))
            moved = np.where(np.isfinite(step), x - step, x)
            x = np.where(np.abs(_slope(sums, moved)) < np.abs(_slope(sums, x)), moved, x)
    return x


def _closed_form(sums: Floats) -> Floats:
    """The root, exact but for rounding."""
    a0, a1, _, b0, b1, b2, b3, _ = sums
    with np.errstate(all="ignore"):
        mean = np.where(b0 > 0, b1 / b0, 0.0)
        p = 3 * np.maximum(b2 - mean * b1, 0) + a0 / 2
        q = b3 - mean * (3 * b2 - 2 * mean * b1) + (a1 - mean * a0) / 2
        t = 1.5 * (q / p) * np.sqrt(3 * b0 / p)
        y = q / p * np.where(t == 0, 1.0, 3 * np.sinh(np.arcsinh(t) / 3) / t)
        root: Floats = mean + np.nan_to_num(y, posinf=0, neginf=0)
    return root


def _slope(sums: Floats, x: Floats) -> Floats:
    """Half the derivative of a cluster's cost with respect to its value, at ``x``."""
    a0, a1, _, b0, b1, b2, b3, _ = sums
    slope: Floats = x * (a0 + 6 * b2 - x * (6 * b1 - 2 * x * b0)) - a1 - 2 * b3
    return slope


class SortedWeights:
    """Weights in ascending order with their importances, and sums over any stretches of them.

    Sums of whole blocks are kept about the middle of each, and shifted to where they are wanted; what
    is left at the ends of a stretch is added up weight by weight. Nothing is the difference of two
    large sums, and a round of Lloyd's algorithm need not look at every weight.
    """

    def __init__(self, weights: Floats, quadratic: Floats, quartic: Floats) -> None:
        order = np.argsort(weights, kind="stable")
        self.weights, self.quadratic, self.quartic = weights[order], quadratic[order], quartic[order]
        self.size = len(weights)
        self.firsts = np.flatnonzero(np.diff(self.weights, prepend=np.nan))
        """Where different weights begin."""
        self._starts = np.arange(0, self.size, BLOCK)
        self._middles = self._middle(self._starts)
        self._blocks = self.direct_sums(self._starts, self._middles)

    def _middle(self, starts: Places) -> Floats:
        middle: Floats = (self.weights[starts] + self.weights[np.append(starts[1:], self.size) - 1]) / 2
        return middle

    def distances(self, starts: Places, values: Floats) -> Floats:
        """Of every weight to the value of its stretch."""
        return self.weights - np.repeat(values, np.diff(np.append(starts, self.size)))

    def direct_sums(self, starts: Places, values: Floats) -> Floats:
        """Power sums of the stretches that begin at ``starts``, none empty, about ``values``; all weights."""
        return _power_sums(self.distances(starts, values), self.quadratic, self.quartic, starts)

    def sums(self, starts: Places, values: Floats) -> Floats:
        """The same by means of blocks."""
        cuts = np.union1d(starts, self._starts)
        ends = np.append(cuts[1:], self.size)
        about = values[np.searchsorted(starts, cuts, side="right") - 1]
        block = cuts // BLOCK
        whole = ends - cuts == np.minimum(BLOCK, self.size - block * BLOCK)
        pieces = np.empty((8, len(cuts)))
        pieces[:, whole] = _shifted(self._blocks[:, block[whole]], self._middles[block[whole]] - about[whole])
        if not whole.all():
            lengths = (ends - cuts)[~whole]
            offsets = lengths.cumsum() - lengths
            rows = np.repeat(cuts[~whole] - offsets, lengths) + np.arange(lengths.sum())
            distances = self.weights[rows] - np.repeat(about[~whole], lengths)
            pieces[:, ~whole] = _power_sums(distances, self.quadratic[rows], self.quartic[rows], offsets)
        return np.asarray(np.add.reduceat(pieces, np.searchsorted(cuts, starts), axis=1))

    def moved(self, starts: Places, values: Floats, sums: Floats) -> Floats:
        """The value that costs least in each stretch."""
        ends = np.append(starts[1:], self.size)
        best = values + cubic_roots(sums)
        return np.clip(
            best, self.weights[starts], self.weights[ends - 1]
        )  # rounding must not change the order

    def nearest(self, values: Floats) -> tuple[Places, Floats]:
        """Where the weights nearest to each value begin, and these values; others are gone."""
        inner = np.searchsorted(self.weights, (values[1:] + values[:-1]) / 2)
        edges = np.concatenate([[0], inner, [self.size]])
        filled = np.diff(edges) > 0
        return edges[:-1][filled], values[filled]

    def assigned(self, values: Floats, clusters: int) -> tuple[Places, Floats]:
        """What ``nearest`` says, for at least ``clusters`` values as long as a weight costs anything.

        Those that are missing are put on the weights that cost most in their clusters, the dearest first.
        """
        while True:
            starts, values = self.nearest(values)
            if len(values) >= clusters:
                return starts, values
            costs = moving_costs(self.distances(starts, values), self.quadratic, self.quartic)
            dearest = np.maximum.reduceat(costs, starts)
            rows = np.argsort(-dearest, kind="stable")[: clusters - len(values)]
            ends = np.append(starts[1:], self.size)
            seeds = [starts[i] + costs[starts[i] : ends[i]].argmax() for i in rows if dearest[i] > 0]
            if not seeds:
                return starts, values
            values = np.union1d(values, self.weights[seeds])


def lloyd(
    points: SortedWeights, values: Floats, clusters: int, pinned: float | None = None
) -> tuple[Floats, Places, list[float]]:
    """Lloyd's algorithm on a line: each weight to its nearest value, each value to where it costs least.

    The nearest value is the best, as I d^2 + H d^4 grows with |d|. It ends when no weight changes its value
    any more, or after 1,000 rounds; the cost never grows. A value that has no weights is put on the weight
    that costs most; where none costs anything, it vanishes.

    Args:
        points: the weights; each has some importance.
        values: to start from, sorted.
        clusters: values that there shall be.
        pinned: a value that there is and that does not move; others then vanish where they have no weights.

    Returns:
        Values, sorted; where the weights of each begin, of those that have any; and what all weights cost
        after each assignment.
    """
    trace: list[float] = []
    before: Places | None = None
    for _ in range(ROUNDS):
        starts, values = points.assigned(values, 0 if pinned is not None else clusters)
        sums = points.sums(starts, values)
        trace.append(float((sums[2] + sums[7]).sum()))
        if before is not None and np.array_equal(starts, before):
            break
        before, values = starts, _with(pinned, points.moved(starts, values, sums), values)
    starts, values = points.nearest(values)
    for _ in range(3):  # sums about where the values are: rounding is then that of their own distances
        moved = points.moved(starts, values, points.direct_sums(starts, values))
        values = moved if pinned is None else np.where(values == pinned, values, moved)
    return _with(pinned, values, values), starts, trace


def _with(pinned: float | None, moved: Floats, values: Floats) -> Floats:
    """Where values moved to, but the pinned one, which is where it was."""
    return moved if pinned is None else np.union1d(moved[values != pinned], [pinned])


def _exact_start(points: SortedWeights, clusters: int) -> Floats:
    """The best values where stretches of neighbouring weights must not be divided, by dynamic programming.

    Where there are no more than 3 ``STRETCHES`` different weights, each is a stretch, and the values are the
    best of all. Otherwise stretches end at quantiles of the weights, at quantiles of their importance, and at
    equally spaced values. best[c, j] = min_i best[c - 1, i - 1] + cost(stretches i to j in one cluster).
    """
    weights, size = points.weights, points.size
    parts = max(STRETCHES, clusters)
    cuts = points.firsts
    if len(cuts) > 3 * parts:
        shares = np.arange(parts) / parts
        cuts = np.unique(
            np.concatenate(
                [
                    (shares * size).astype(np.int64),
                    np.searchsorted(weights, weights[0] + shares * (weights[-1] - weights[0])),
                    _importance_quantiles(points, shares),
                ]
            )
        )
    middles = points._middle(cuts)
    blocks = points.direct_sums(cuts, middles)
    costs = np.full((len(cuts), len(cuts)), np.inf)
    for i in range(len(cuts)):
        run = _shifted(blocks[:, i:], middles[i:] - middles[i]).cumsum(1)
        at_best = _shifted(run, -cubic_roots(run))
        costs[i, i:] = np.maximum(at_best[2] + at_best[7], 0)
    best, backs = costs[0], []
    for _ in range(clusters - 1):
        totals = best[:-1, None] + costs[1:]
        backs.append(totals.argmin(0) + 1)
        best = totals.min(0)
    firsts, last = [], len(cuts)
    for back in reversed(backs):
        firsts.append(last := int(back[last - 1]))
    starts = cuts[[0, *reversed(firsts)]]
    values = points._middle(starts)
    return points.moved(starts, values, points.direct_sums(starts, values))


def _importance_quantiles(points: SortedWeights, shares: Floats) -> Places:
    """Places at which these shares of I + H s^2 are reached, s the standard deviation of the weights."""
    importance = (points.quadratic + points.quartic * points.weights.var()).cumsum()
    return np.minimum(np.searchsorted(importance, shares * importance[-1], side="right"), points.size - 1)


def weighted_kmeans(
    weights: Tensor, clusters: int, quadratic: Tensor | None = None, quartic: Tensor | None = None
) -> Clusters:
    """The ``clusters`` values to which weights can be moved at the least cost, by Lloyd's algorithm.

    The cost is sum_i I_i (w_i - c_i)^2 + H_i (w_i - c_i)^4, c_i the value of weight i: with I = 1 and H = 0
    k-means, with H = 0 weighted k-means, otherwise quartic weighted k-means. Of several starts the
    one that ends cheapest counts: values equally spaced between the least and the greatest weight
    (Han et al. 2016, arXiv 1510.00149), quantiles of the weights and of their importance, and the best values
    for a few hundred stretches of neighbouring weights. The last is the optimum itself where there are no
    more than 384 different weights. Nothing is random.

    Weights of no importance have no say and take the nearest value; where none has any, all count alike.
    There are fewer values than asked for only where there are fewer different weights of any importance.

    Args:
        weights: any shape, floating point.
        clusters: values, at least one.
        quadratic: I, of the weights' shape, >= 0; None: 1.
        quartic: H, of the weights' shape, >= 0; None: 0.

    Raises:
        ValueError: no cluster, or more clusters than different weights; weights or importances are not
            finite, or importances negative or of another shape.

    Source: Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), Algorithm 2; Choi, El-Khamy & Lee 2016
    (arXiv 1612.01543), for H = 0.
    """
    flat, quadratics, quartics = checked_importances(weights, quadratic, quartic)
    different = len(np.unique(flat))
    if not 1 <= clusters <= different:
        raise ValueError(
            f"{different} different weights cannot fill {clusters} clusters; ask for fewer, but one."
        )
    matter = np.flatnonzero(quadratics + quartics)
    if matter.size:
        points = SortedWeights(flat[matter], quadratics[matter], quartics[matter])
    else:
        points = SortedWeights(flat, np.ones_like(flat), np.zeros_like(flat))
    best: Clusters | None = None
    for start in _starts(points, min(clusters, len(points.firsts))):
        values, begins, trace = lloyd(points, np.unique(start), clusters)
        # Weights as far from the next value stay where they were when the last values were found.
        last, first = points.weights[begins[1:] - 1], points.weights[begins[1:]]
        edges = np.clip((values[1:] + values[:-1]) / 2, np.nextafter(last, np.inf), first)
        labels = np.searchsorted(edges, flat, side="right")
        objective = float(moving_costs(flat - values[labels], quadratics, quartics).sum())
        if best is None or objective < best.objective:
            shaped = torch.from_numpy(labels).reshape(weights.shape)
            best = Clusters(torch.from_numpy(values), shaped, objective, trace)
    assert best is not None
    return best


def _starts(points: SortedWeights, clusters: int) -> list[Floats]:
    """Values to start from, as ``weighted_kmeans`` says."""
    middles = (np.arange(clusters) + 0.5) / clusters
    return [
        np.linspace(points.weights[0], points.weights[-1], clusters),
        points.weights[(middles * points.size).astype(np.int64)],
        points.weights[_importance_quantiles(points, middles)],
        _exact_start(points, clusters),
    ]
