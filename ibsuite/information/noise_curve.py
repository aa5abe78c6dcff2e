"""I(X; L + eps) of one network against the variance of the noise, by critics and between bounds."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ibsuite.information.architecture_aware import architecture_aware, layer_outputs, noisy_outputs
from ibsuite.information.critics import CRITICS
from ibsuite.information.densities import noisy_upper
from ibsuite.information.estimates import Estimate
from ibsuite.information.kernels import kernel_bounds
from ibsuite.information.training import train_critic
from ibsuite.seeds import derive_seed

CENTRES = 4000
"""Outputs at most whose distances are taken."""


class Between(NamedTuple):
    """What the noise's known law says of I(X; L + eps) without a critic, bits."""

    lower_bits: float
    """By distances between outputs (``kernel_bounds``); at most log2 of their number."""
    upper_bits: float
    """The lesser of two upper bounds: by distances, and by a Gaussian of the same covariance."""


def between(layers: nn.Module, x: Tensor, noise_variance: float, seed: int = 0) -> Between:
    """Bounds on I(X; F(X) + eps) that hold in expectation, bits.

    Args:
        layers: F.
        x: independent inputs, (n, ...).
        noise_variance: of every coordinate of F(x), positive.
        seed: of the noise and of the split.

    Raises:
        ValueError: the noise is not positive, or there are too few inputs.
    """
    centres, noise_std = layer_outputs(layers, x), _deviation(noise_variance)
    bounds = kernel_bounds(centres[:CENTRES], noise_std)
    covariance = noise_variance * torch.eye(centres.shape[1])
    gaussian = noisy_upper(noisy_outputs(centres, noise_std, seed), covariance, "gaussian", seed)
    return Between(bounds.lower_bits, min(bounds.upper_bits, gaussian.heldout_bits))


def critic_estimates(
    layers: nn.Module,
    x: Tensor,
    noise_variance: float,
    seed: int = 0,
    bound: str = "mine",
    critic: str = "joint",
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    steps: int = 600,
) -> dict[str, Estimate]:
    """I(X; F(X) + eps) by three critics with the same inner network, bound, samples and steps, bits.

    ``mine`` sees x and t = F(x) + eps; ``aa_mine`` sees F(x) and t; ``aa_mine_closeness`` is told besides
    that t is F(x) and noise of this size (``ArchitectureAwareCritic``).

    Args:
        layers: F.
        x: independent inputs, (n, ...).
        noise_variance: of every coordinate of F(x), positive.
        seed: of noise, split, the critics' start and batches.
        bound: as in ``train_critic``.
        critic: ``joint`` or ``separable``.
        batch_size: samples a step.
        learning_rate: of Adam.
        steps: at most.

    Raises:
        ValueError: the noise is not positive, a name is unknown, or there are too few inputs.

    Source: Elad et al. 2019, Figure 1.
    """
    noise_std = _deviation(noise_variance)
    if critic not in CRITICS:
        raise ValueError(f"unknown critic {critic!r}: one of {', '.join(CRITICS)}")
    t = noisy_outputs(layer_outputs(layers, x), noise_std, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, 7))
        blind = CRITICS[critic](x[0].numel(), t.shape[1])
    settings = (seed, batch_size, learning_rate, steps)
    found = {"mine": train_critic(x, t, bound, blind, *settings).estimate}
    for name, closeness in (("aa_mine", False), ("aa_mine_closeness", True)):
        aware = architecture_aware(layers, x, noise_std, bound, critic, *settings, closeness=closeness)
        found[name] = aware.estimate
    return found


def _deviation(noise_variance: float) -> float:
    if not noise_variance > 0:
        raise ValueError(
            f"the noise variance must be positive, got {noise_variance:g}: without noise I(X; L) of a "
            "deterministic layer is infinite"
        )
    return math.sqrt(noise_variance)
