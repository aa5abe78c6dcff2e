"""Schedules as functions of how much of a training is done: of learning rates, and of weights in a loss."""

import math
from typing import Any, Literal

import torch

from ibsuite.interface import Refusal

Decay = Literal["cosine", "linear", "exponential", "constant"]
EXPONENTIAL_END = 0.97**100
"""What an exponential decay leaves of the peak: 0.97 of it for every hundredth of the training."""


def learning_rate_factor(progress: float, warmup: float, decay: Decay, hold: float = 0.0) -> float:
    """Factor on the peak learning rate: a linear rise, perhaps a while at the peak, then a decay.

    Args:
        progress: share of the training that is done, in [0, 1].
        warmup: share of the training in which the rate rises from 1/25 of its peak.
        decay: how it falls afterwards, to 0 or, ``exponential``, to 1/21; ``cosine`` after a warm-up is the
            one-cycle policy.
        hold: share of the training that is spent at the peak, between the two.
    """
    progress = min(max(progress, 0.0), 1.0)
    if not 0 <= warmup < 1:
        raise Refusal(f"model.warmup must lie in [0, 1), got {warmup}")
    if not 0 <= hold < 1 - warmup:
        raise Refusal(f"model.hold must leave something of the training after model.warmup, got {hold}")
    if progress < warmup:
        return 0.04 + 0.96 * progress / warmup
    if decay == "constant":
        return 1.0
    left = min(1.0, (1.0 - progress) / (1.0 - warmup - hold))
    if decay == "exponential":
        return float(EXPONENTIAL_END ** (1.0 - left))
    return left if decay == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))


@torch.compiler.disable(reason="a number of the step, which would be compiled in as if it were a constant")
def risen(method: Any, share: float) -> float:
    """How far a weight in the loss of ``method`` has risen from 0, linearly, to 1.

    Args:
        method: a LightningModule that is being trained.
        share: of the training in which the weight rises; 0: it is 1 from the start.
    """
    if not share:
        return 1.0
    steps = method.training_steps or int(method.trainer.estimated_stepping_batches)
    return min(1.0, method.lr_schedulers().last_epoch / steps / share)
