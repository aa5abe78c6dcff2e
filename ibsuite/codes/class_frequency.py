"""The adaptive code of the labels alone: what class frequencies give without looking at inputs."""

import torch
from torch import Tensor
from torch.nn import functional as F


def class_frequency_log2_probs(labels: Tensor, num_classes: int) -> Tensor:
    """Predictive log2-probabilities of every class before each label, bits.

    The Krichevsky-Trofimov estimator: p(c | y_<t) = (n_c + 1/2) / (t - 1 + K/2), where n_c counts
    class c among the t - 1 labels already sent (Krichevsky & Trofimov 1981).

    Args:
        labels: (n,), int64.
        num_classes: K.

    Returns:
        (n, K), float64; row t depends on labels before t only.
    """
    sent = F.one_hot(labels, num_classes).cumsum(0)
    before = torch.cat([sent.new_zeros(min(1, len(labels)), num_classes), sent[:-1]]).double()
    counts = before + 0.5
    return torch.log2(counts / counts.sum(1, keepdim=True))


def empirical_entropy_bits(labels: Tensor, num_classes: int) -> float:
    """N H(Y) under the labels' own frequencies, bits. A yardstick; not a code, as nobody sends them."""
    counts = torch.bincount(labels, minlength=num_classes).double()
    counts = counts[counts > 0]
    return float((counts * torch.log2(counts.sum() / counts)).sum())


def class_frequency_bits(labels: Tensor, num_classes: int) -> float:
    """Codelength of the labels under the class-frequency code, bits."""
    log2_probs = class_frequency_log2_probs(labels, num_classes)
    return -float(log2_probs.gather(1, labels[:, None]).sum())
