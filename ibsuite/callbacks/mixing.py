"""A block of labels mixed label by label: the same lines for who sends the labels and who receives them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ibsuite.codes import BlockState, SwitchState
from ibsuite.coding import integer_probabilities

Counts = NDArray[np.int32]
Labels = NDArray[np.int64]


def mix_block(
    networks: NDArray[np.float64],
    state: SwitchState | BlockState,
    sent: Labels,
    next_label: Callable[[Counts], int],
) -> tuple[Counts, Labels]:
    """Counts of all classes under which each label of a block is sent, (n, K), and the labels, (n,).

    The mixture's p(c) = sum_k w_k p_k(c), with the weights before the label, is formed in float64 and in the
    same order of operations at both ends, and turned into whole numbers; then the label is asked for, and
    moves the weights and the class frequencies for the next one. Nothing is worked on several labels at a
    time that could come out otherwise for another number of them.

    Args:
        networks: log2-probabilities under every network and temperature, (n, networks, K), bits.
        state: of the mixture before the block; it is moved on. Where it has two predictors more, they are
            the uniform and the class-frequency one.
        sent: labels of each class before the block, (K,).
        next_label: gives the next label; the sender knows it, the receiver finds it by these counts, (K,).
    """
    n, trained, classes = networks.shape
    predictors = len(state.weights)
    log2_probs = np.full((predictors, classes), -np.log2(classes))
    frequencies = sent + 0.5  # Krichevsky and Trofimov's estimator
    counts, labels = np.empty((n, classes), dtype=np.int32), np.empty(n, dtype=np.int64)
    with np.errstate(divide="ignore", under="ignore"):  # zero is as good as 2^-24
        for i in range(n):
            log2_probs[:trained] = networks[i]
            if predictors > trained:
                log2_probs[-1] = np.log2(frequencies / frequencies.sum())
            mixed = (state.weights[:, None] * np.exp2(log2_probs)).sum(0)
            counts[i] = integer_probabilities(np.log2(mixed))[0]
            label = next_label(counts[i])
            state.update(log2_probs[:, label])
            frequencies[label] += 1
            labels[i] = label
    return counts, labels
