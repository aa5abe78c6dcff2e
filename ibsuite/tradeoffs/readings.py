"""What a compressed network says of labelled inputs, beside the network that it was made from."""

import torch
from torch import Tensor

from ibsuite.codes import log2_probabilities

TOP = 5
MANY_CLASSES = 20
"""From so many on, top-5 accuracy says something."""


def reading(compressed: Tensor, original: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, cross entropy and distortions over n labelled inputs, means in float64.

    With the loss L = -log2 f(y|x) of either network:

    ==================  ==========================================================================
    accuracy            share of the labels that are the most probable class
    top5_accuracy       share among the five most probable ones; where there are 20 classes or more
    nll_bits            E L of the compressed network: the cross entropy, bits a label
    loss_distortion     d = E (L_w - L_w_hat)^2, bits^2: how unlike the compressed network is
    excess_bits         d~ = E (L_w_hat - L_w), bits: how much worse it is
    kl_bits             E KL(f_w_hat || f_w), bits: the distortion of eq. 3
    ==================  ==========================================================================

    Source: Gao et al. 2019, eq. 3 and the remark of section 6.2.

    Args:
        compressed: logits of the compressed network, (n, K).
        original: logits of the network it was made from, (n, K).
        labels: (n,).
    """
    found, before = log2_probabilities(compressed), log2_probabilities(original)
    rows = torch.arange(len(labels))
    excess = before[rows, labels] - found[rows, labels]
    read = {"accuracy": (found.argmax(1) == labels).double().mean()}
    if found.shape[1] >= MANY_CLASSES:
        read["top5_accuracy"] = (found.topk(TOP, 1).indices == labels[:, None]).any(1).double().mean()
    read["nll_bits"] = -found[rows, labels].mean()
    read["loss_distortion"] = excess.square().mean()
    read["excess_bits"] = excess.mean()
    read["kl_bits"] = (found.exp2() * (found - before)).sum(1).mean()
    return {name: float(value) for name, value in read.items()}
