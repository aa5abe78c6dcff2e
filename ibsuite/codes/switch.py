"""Switch codes: proper mixtures over predictors, priced label by label.

A free minimum over predictors is not a code, because nobody told the receiver which one to use.
Here the choice is paid for: by a prior over switch sequences (van Erven, Grunwald & de Rooij 2012)
or by one Bayesian mixture per block. Predictors are rows, labels are columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Mixture(NamedTuple):
    """A mixture's price of each label, and the weights behind it."""

    log2_probs: Array
    """Log2-probability of each label, (n,), bits."""
    weights: Array
    """Weight of each predictor just before each label, (predictors, n); columns sum to one."""

    @property
    def bits(self) -> float:
        """Codelength of all labels, bits."""
        return -float(self.log2_probs.sum())


def _uniform_prior(prior: Array | None, predictors: int) -> Array:
    if prior is None:
        return np.full(predictors, 1.0 / predictors)
    if prior.shape != (predictors,) or (prior < 0).any() or not np.isclose(prior.sum(), 1.0):
        raise ValueError("the prior must be a distribution over the predictors")
    return prior


def switch_distribution(
    log2_probs: Array, prior: Array | None = None, switch_probability: float = 0.5
) -> Mixture:
    """The switch distribution: a Bayesian mixture over all sequences of predictors, bits.

    A sequence s = ((t_1 = 1, k_1), ..., (t_m, k_m)) has prior

        pi(s) = theta^(m-1) (1 - theta) pi_K(k_1) prod_{i>=2} pi_T(t_i | t_i > t_{i-1}) pi_K(k_i),

    with pi_T(t) = 1 / (t (t + 1)). The sum over all sequences is exact in O(predictors) a label: a
    predictor is *active* while it may still be switched away from, and *stopped* afterwards; the
    hazard of a switch at label t is 1 / (t + 1).

    Args:
        log2_probs: (predictors, n), log2-probability that each predictor gave to each label, using
            only what was known before it.
        prior: pi_K, (predictors,); uniform if None.
        switch_probability: theta.

    Source: van Erven, Grunwald & de Rooij 2012, JRSS-B 74:361; used by Blier & Ollivier 2018,
    Appendix E, with the best sequence in hindsight instead of the mixture.
    """
    predictors, n = log2_probs.shape
    prior, theta = _uniform_prior(prior, predictors), switch_probability
    possible = prior > 0
    log2_probs, prior = log2_probs[possible], prior[possible]
    active, stopped = theta * prior, (1 - theta) * prior
    mixed, weights = np.empty(n), np.zeros((predictors, n))
    # Scaling a column cancels in the weights; it keeps tiny probabilities away from underflow.
    top = log2_probs.max(0, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    probs = np.exp2(log2_probs - top)
    for i in range(n):
        if i > 0:
            hazard = 1.0 / (i + 2)
            pool = hazard * active.sum()
            active = (1 - hazard) * active + theta * pool * prior
            stopped = stopped + (1 - theta) * pool * prior
        weights[possible, i] = active + stopped
        active, stopped = active * probs[:, i], stopped * probs[:, i]
        total = active.sum() + stopped.sum()
        mixed[i] = total
        if not total > 0:
            raise ValueError(f"every predictor gives label {i} probability zero")
        active, stopped = active / total, stopped / total
    return Mixture(np.log2(mixed) + top, weights)


def block_mixture(log2_probs: Array, starts: Sequence[int], prior: Array | None = None) -> Mixture:
    """One Bayesian mixture per block, begun afresh at each block, bits.

    P(y_block) = sum_k pi_K(k) p_k(y_block): at most -log2 pi_K(k) more a block than its best predictor.

    Args:
        log2_probs: (predictors, n).
        starts: first label of each block; starts[0] = 0.
        prior: pi_K, (predictors,); uniform if None.
    """
    predictors, n = log2_probs.shape
    prior = _uniform_prior(prior, predictors)
    if list(starts) != sorted({0, *starts}) or starts[-1] >= max(n, 1):
        raise ValueError(f"blocks must start at 0 and increase below {n}, got {list(starts)}")
    mixed, weights = np.empty(n), np.empty((predictors, n))
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        with np.errstate(divide="ignore"):
            joint = np.log2(prior)[:, None] + np.cumsum(log2_probs[:, start:stop], axis=1)
            before = np.concatenate([np.log2(prior)[:, None], joint[:, :-1]], axis=1)
        if not np.isfinite(joint.max(0)).all():
            raise ValueError(f"every predictor gives some label from {start} on probability zero")
        evidence, evidence_before = np.logaddexp2.reduce(joint), np.logaddexp2.reduce(before)
        mixed[start:stop] = evidence - evidence_before
        weights[:, start:stop] = np.exp2(before - evidence_before)
    return Mixture(mixed, weights)


def block_bits(log2_probs: Array, starts: Sequence[int]) -> Array:
    """Bits of each block under each predictor, (predictors, blocks)."""
    return -np.add.reduceat(log2_probs, list(starts), axis=1)


def free_minimum_bits(log2_probs: Array, starts: Sequence[int]) -> float:
    """What the best predictor of each block would claim if the choice cost nothing, bits. Not a code."""
    return float(block_bits(log2_probs, starts).min(0).sum())


def hindsight_switch_bits(log2_probs: Array, starts: Sequence[int], switch_probability: float = 0.5) -> float:
    """The best switch sequence over blocks, its prior charged, bits.

    min_s - log2 pi(s) + L_s (Blier & Ollivier 2018, Definition 4), with pi as in
    ``switch_distribution`` and time counted in blocks. The mixture is never longer than this for
    the same time scale; the sender must look ahead to find s, but may.
    """
    costs = block_bits(log2_probs, starts)
    predictors, theta = len(costs), switch_probability
    if not 0 < theta < 1:
        raise ValueError(f"the switch probability must lie strictly between 0 and 1, got {theta}")
    active = -np.log2(theta / predictors) + costs[:, 0]
    stopped = -np.log2((1 - theta) / predictors) + costs[:, 0]
    for i in range(1, costs.shape[1]):
        hazard = 1.0 / (i + 2)
        switched = active.min() - np.log2(hazard / predictors)
        active = np.minimum(active - np.log2(1 - hazard), switched - np.log2(theta)) + costs[:, i]
        stopped = np.minimum(stopped, switched - np.log2(1 - theta)) + costs[:, i]
    return float(stopped.min())
