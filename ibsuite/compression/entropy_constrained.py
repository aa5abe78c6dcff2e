"""Uniform grids under a charge for the length of the code of their integers."""

import math

import numpy as np
import torch
from torch import Tensor

from ibsuite.compression.code_lengths import entropy_bits
from ibsuite.compression.kmeans import Floats, Places, checked_importances, moving_costs
from ibsuite.compression.quantise import quantise_uniform
from ibsuite.interface import Quantised

ROUNDS = 1000
MARGIN_BITS = 0.1
"""How much dearer than the best an integer may be to be compared with it all the same."""
ROUNDING = 1e-9
"""Bits below which prices are taken to be alike when it is asked who has to be looked at again."""


def quantise_entropy_constrained(
    tensor: Tensor,
    step: float,
    multiplier: float,
    quadratic: Tensor | None = None,
    quartic: Tensor | None = None,
) -> Quantised:
    """``tensor`` on a uniform grid, each weight where error and length of its code cost least together.

    From plain rounding on, two steps alternate until nothing changes: p is the empirical frequency of
    each integer, zeros included, and each weight other than zero takes the integer k with the least

        I (w - k step)^2 + H (w - k step)^4 + multiplier * (-log2 p(k)).

    Neither step makes sum_i I_i d_i^2 + H_i d_i^4 + multiplier * n H(p) greater, d_i being what weight i
    moves by. Integers that nobody takes any more are gone. Zeros, as pruned weights are, stay zero; and
    where a bit counts, weights on which nothing depends (I = H = 0) become zero, wherever the shortest
    code lies. With a multiplier of 0 this is plain rounding.

    Args:
        tensor: any shape, floating point.
        step: > 0; rounded to bfloat16 before it is used, as it is sent so.
        multiplier: what a bit costs in the unit of I w^2, >= 0.
        quadratic: I, of the tensor's shape, >= 0; None: 1.
        quartic: H, of the tensor's shape, >= 0; None: 0.

    Raises:
        ValueError: ``step`` is one that ``quantise_uniform`` does not take; ``multiplier`` is negative or not
            finite; weights or importances are not finite, or importances negative or of another shape.

    Source: Choi, El-Khamy & Lee 2016 (arXiv 1612.01543); Chou, Lookabaugh & Gray 1989.
    """
    if not 0 <= multiplier < math.inf:
        raise ValueError(f"multiplier must be finite and not negative, got {multiplier}")
    weights, quadratics, quartics = checked_importances(tensor, quadratic, quartic)
    rounded = quantise_uniform(tensor, step)
    symbols = rounded.symbols.flatten().numpy().copy()
    if multiplier:
        symbols[(quadratics == 0) & (quartics == 0)] = 0
    left = np.flatnonzero((weights != 0) & ((quadratics > 0) | (quartics > 0)))
    search = Search(weights[left], quadratics[left], quartics[left], rounded.step, multiplier)
    symbols[left], _ = search.alternate(symbols[left], len(weights) - len(left))
    return Quantised(torch.from_numpy(symbols).reshape(tensor.shape), rounded.step)


class Search:
    """Weights other than zero that look for their places on a grid.

    Args:
        weights: (n,), float64.
        quadratic: I, (n,).
        quartic: H, (n,).
        step: of the grid.
        multiplier: what a bit costs.
    """

    def __init__(
        self, weights: Floats, quadratic: Floats, quartic: Floats, step: float, multiplier: float
    ) -> None:
        self.weights, self.quadratic, self.quartic = weights, quadratic, quartic
        self.step, self.multiplier = step, multiplier

    def alternate(self, symbols: Places, zeros: int) -> tuple[Places, list[float]]:
        """Integers when nothing changes any more, and the Lagrangian at the start and after each round.

        A weight is looked at again only when prices have moved so much that another integer could have become
        the better one.

        Args:
            symbols: to start from, (n,).
            zeros: zeros that are sent beside.
        """
        alphabet, places = np.unique(np.append(symbols, 0), return_inverse=True)
        places, zero = places[:-1], places[-1]
        errors = self.errors(np.arange(len(symbols)), symbols)
        slack = np.zeros(len(symbols))  # by how much the best integer is better than any other, at least
        trace: list[float] = []
        before = np.zeros(len(alphabet))
        for _ in range(ROUNDS):
            counts = np.bincount(places, minlength=len(alphabet))
            counts[zero] += zeros
            trace.append(float(errors.sum()) + self.multiplier * entropy_bits(torch.from_numpy(counts)))
            alive = counts > 0
            prices = np.full(len(alphabet), math.inf)
            prices[alive] = self.multiplier * np.log2(counts.sum() / counts[alive])
            if len(trace) > 1:
                dearer = np.zeros(len(alphabet))
                dearer[alive] = prices[alive] - before[alive]
                slack -= (dearer - dearer.min(initial=0))[places]
            rows = np.flatnonzero(slack <= ROUNDING * self.multiplier)
            found, errors[rows], slack[rows] = self.best(rows, places[rows], alphabet, prices)
            if np.array_equal(found, places[rows]):
                break
            places[rows], before = found, prices
        return alphabet[places], trace

    def errors(self, rows: Places, symbols: Places) -> Floats:
        """What it costs to move each of some weights to its integer."""
        return moving_costs(
            self.weights[rows] - symbols * self.step, self.quadratic[rows], self.quartic[rows]
        )

    def best(
        self, rows: Places, places: Places, alphabet: Places, prices: Floats
    ) -> tuple[Places, Floats, Floats]:
        """The best integers for some weights, those that they have where no other is better.

        Of the integers on one side of a weight, one is worth a look only where its code is shorter than those
        of all that are nearer; and none is any more as soon as its error and the shortest code of all cost
        clearly more than the best so far.

        Args:
            rows: which weights, (m,).
            places: which integer each of them has, as an index to ``alphabet``, (m,).
            alphabet: integers, sorted, (k,).
            prices: of their codes, (k,); infinite for those that are not in use.

        Returns:
            Indices to ``alphabet``; errors; and by how much any other integer costs more, at least.
        """
        least, margin = prices.min(initial=math.inf), MARGIN_BITS * self.multiplier
        found, error = places.copy(), self.errors(rows, alphabet[places])
        best, second = error + prices[places], np.full(len(rows), math.inf)
        alive = np.flatnonzero(prices < math.inf)
        above = np.searchsorted(alphabet[alive], self.weights[rows] / self.step, side="right")
        sides = (above - 1, _shorter_below(prices[alive])), (above, _shorter_above(prices[alive]))
        for tried, following in sides:
            on = np.flatnonzero((tried >= 0) & (tried < len(alive)))
            tried = tried[on]
            while len(on):
                place = alive[tried]
                errors = self.errors(rows[on], alphabet[place])
                totals, old = errors + prices[place], best[on]
                better, other = totals < old, place != found[on]
                loser = np.where(better, old, np.where(other, totals, math.inf))
                best[on] = np.minimum(old, totals)
                found[on[better]], error[on[better]] = place[better], errors[better]
                tried = following[tried]
                beyond = errors + least
                more = beyond < best[on] + margin
                # What is not looked at any more costs ``beyond`` at least.
                second[on] = np.minimum(second[on], np.where(more, loser, np.minimum(loser, beyond)))
                on, tried = on[more & (tried >= 0)], tried[more & (tried >= 0)]
        # What was passed over behind the best integer costs as much as that, and the error of its neighbour.
        outward = np.where(alphabet[found] * self.step > self.weights[rows], 1, -1)
        behind = self.errors(rows, alphabet[found] + outward) + prices[found]
        return found, error, np.minimum(second, behind) - best


def _shorter_below(prices: Floats) -> Places:
    """The nearest entry before each that is less; -1 where there is none."""
    found, stack = np.full(len(prices), -1), list[int]()
    for j, price in enumerate(prices):
        while stack and prices[stack[-1]] >= price:
            stack.pop()
        if stack:
            found[j] = stack[-1]
        stack.append(j)
    return found


def _shorter_above(prices: Floats) -> Places:
    """The nearest entry behind each that is less; -1 where there is none."""
    mirrored = _shorter_below(prices[::-1])[::-1]
    return np.where(mirrored < 0, -1, len(prices) - 1 - mirrored)
