"""Codelengths of labels under the categorical distributions that logits define."""

import math

import torch
from torch import Tensor

from ibsuite.units import nats_to_bits


def log2_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log2-probability of every class, bits: log2 softmax(logits / T), averaged over networks.

    Where several networks have given logits, their *probabilities* are averaged. A label for which
    any logit is not finite is priced by the uniform code, for sender and receiver alike.

    Args:
        logits: (n, K) or (networks, n, K), any floating type; computed in float64.
        temperature: T > 0.

    Returns:
        (n, K), float64, on the logits' device.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    scaled = logits.double() / temperature
    if scaled.ndim == 2:
        scaled = scaled[None]
    nats = torch.logsumexp(torch.log_softmax(scaled, dim=-1), 0) - math.log(len(scaled))
    usable = scaled.isfinite().all(0).all(-1, keepdim=True)
    return nats_to_bits(torch.where(usable, nats, -math.log(logits.shape[-1])))


def label_log2_probs(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Log2-probability of each given label, (n,), float64, bits."""
    return log2_probabilities(logits, temperature).gather(1, labels[:, None])[:, 0]


def codelength_bits(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Codelength of ``labels`` under the network that gave ``logits``, bits.

    L_p(y | x) = - sum_i log2 p(y_i | x_i) (Blier & Ollivier 2018, equation 1), summed in float64.

    Args:
        logits: (n, K).
        labels: (n,), int64.
        temperature: divides the logits.
    """
    return -float(label_log2_probs(logits, labels, temperature).sum())
