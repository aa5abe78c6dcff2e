"""Switch codes: proper mixtures over predictors, priced label by label.

A free minimum over predictors is not a code, because nobody told the receiver which one to use.
Here the choice is paid for: by a prior over switch sequences (van Erven, Grunwald & de Rooij 2012)
or by one Bayesian mixture per block. Predictors are rows, labels are columns.
"""

import math
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


class SwitchState:
    """The switch distribution between two labels: what a receiver mixes the next label's predictions with.

    A predictor is *active* while it may still be switched away from, and *stopped* afterwards; the hazard of
    a switch at label t, counted from 1, is 1 / (t + 1).

    Args:
        predictors: number of predictors.
        prior: pi_K, (predictors,); uniform if None.
        switch_probability: theta.
    """

    def __init__(self, predictors: int, prior: Array | None = None, switch_probability: float = 0.5) -> None:
        prior = _uniform_prior(prior, predictors)
        self._predictors, self._theta = predictors, switch_probability
        self._possible = slice(None) if (prior > 0).all() else prior > 0
        self._prior = prior[self._possible]
        self._active, self._stopped = switch_probability * self._prior, (1 - switch_probability) * self._prior
        self._known = 0

    @property
    def weights(self) -> Array:
        """Weight of each predictor just before the next label, (predictors,), in sum one."""
        weights = np.zeros(self._predictors)
        weights[self._possible] = self._active + self._stopped
        return weights

    def update(self, log2_probs: Array) -> float:
        """Take in the next label, and give the mixture's log2-probability of it, bits.

        Args:
            log2_probs: what each predictor gave to that label, (predictors,), bits.

        Raises:
            ValueError: every predictor gives it probability zero.
        """
        log2_probs = log2_probs[self._possible]
        # A common factor cancels in the weights; it keeps tiny probabilities away from underflow.
        top = float(log2_probs.max())
        top = top if math.isfinite(top) else 0.0
        probs = np.exp2(log2_probs - top)
        active, stopped = self._active * probs, self._stopped * probs
        total = active.sum() + stopped.sum()
        if not total > 0:
            raise ValueError(f"every predictor gives label {self._known} probability zero")
        active, stopped = active / total, stopped / total
        self._known += 1
        hazard = 1.0 / (self._known + 2)
        pool = hazard * active.sum()
        self._active = (1 - hazard) * active + self._theta * pool * self._prior
        self._stopped = stopped + (1 - self._theta) * pool * self._prior
        return float(np.log2(total) + top)


def switch_distribution(
    log2_probs: Array, prior: Array | None = None, switch_probability: float = 0.5
) -> Mixture:
    """The switch distribution: a Bayesian mixture over all sequences of predictors, bits.

    A sequence s = ((t_1 = 1, k_1), ..., (t_m, k_m)) has prior

        pi(s) = theta^(m-1) (1 - theta) pi_K(k_1) prod_{i>=2} pi_T(t_i | t_i > t_{i-1}) pi_K(k_i),

    with pi_T(t) = 1 / (t (t + 1)). The sum over all sequences is exact in O(predictors) a label, label by
    label (``SwitchState``).

    Args:
        log2_probs: (predictors, n), log2-probability that each predictor gave to each label, using
            only what was known before it.
        prior: pi_K, (predictors,); uniform if None.
        switch_probability: theta.

    Source: van Erven, Grunwald & de Rooij 2012, JRSS-B 74:361; used by Blier & Ollivier 2018,
    Appendix E, with the best sequence in hindsight instead of the mixture.
    """
    predictors, n = log2_probs.shape
    state = SwitchState(predictors, prior, switch_probability)
    mixed, weights = np.empty(n), np.empty((n, predictors))
    for i, label in enumerate(np.ascontiguousarray(log2_probs.T)):
        weights[i] = state.weights
        mixed[i] = state.update(label)
    return Mixture(mixed, weights.T)


class BlockState:
    """The mixture of one block between two labels; the next block begins with a new one.

    Args:
        predictors: number of predictors.
        prior: pi_K, (predictors,); uniform if None.
    """

    def __init__(self, predictors: int, prior: Array | None = None) -> None:
        with np.errstate(divide="ignore"):
            self._log2_prior = np.log2(_uniform_prior(prior, predictors))
        self._given = np.zeros(predictors)
        self._joint, self._evidence = self._log2_prior, np.logaddexp2.reduce(self._log2_prior)

    @property
    def weights(self) -> Array:
        """Weight of each predictor just before the next label, (predictors,), in sum one."""
        return np.exp2(self._joint - self._evidence)

    def update(self, log2_probs: Array) -> float:
        """Take in the next label, and give the mixture's log2-probability of it, bits.

        Args:
            log2_probs: what each predictor gave to that label, (predictors,), bits.

        Raises:
            ValueError: every predictor gives the block so far probability zero.
        """
        given = self._given + log2_probs
        joint = self._log2_prior + given
        if not np.isfinite(joint.max()):
            raise ValueError("every predictor gives some label of the block probability zero")
        evidence, before = np.logaddexp2.reduce(joint), self._evidence
        self._given, self._joint, self._evidence = given, joint, evidence
        return float(evidence - before)


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
