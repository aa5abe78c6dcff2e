"""I(X; L + eps) of a layer L = F(x) by a critic that holds the layers F itself: AA-MINE."""

import copy

import torch
from torch import Tensor, nn

from ibsuite.information.bounds import Bound
from ibsuite.information.critics import CRITICS
from ibsuite.information.training import TrainedCritic, train_critic
from ibsuite.seeds import derive_seed, generator

TAKEN = 512
"""Inputs at a time, so that a layer's maps fit into memory."""


class ArchitectureAwareCritic(nn.Module):
    """f(x, t) = D(F(x), t) - c |t - F(x)|^2 / 2 s^2: what the layers make of x is compared with t.

    D, the inner critic, sees F(x) and t on the scale of t. That closeness counts, and how much, is known
    besides: with c = 1 the second term is, up to a constant, the log density of t given x, and what is left
    to D is a function of t alone. c is learnt from there. Without that term the critic is that of the paper,
    and has to find the difference of two inputs that are nearly equal where there is little noise.

    F is a frozen copy, taken when the critic is made and kept in evaluation mode. Were it shared with a
    network in training, every step would move scores that nobody has trained since, and a gradient of the
    estimate would reach the layers by a second way, through the critic: at the best critic it says nothing,
    and before that it rewards layers which deceive the critic.

    Args:
        layers: F, (n, ...) -> (n, ...); outputs are flattened.
        centres: F(x) of some inputs, (n, d): both arguments of D are brought to their mean and spread.
        noise_std: standard deviation of the noise, positive.
        inner: D, scores every F(x) with every t, both (n, d).
        closeness: whether there is the second term.

    Raises:
        ValueError: the noise is not positive.

    Source: Elad et al. 2019, Section 3 and Figure 2.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, layers: nn.Module, centres: Tensor, noise_std: float, inner: nn.Module, closeness: bool = True
    ) -> None:
        super().__init__()
        _check_noise(noise_std)
        self.noise_std = noise_std
        self.layers = copy.deepcopy(layers).requires_grad_(False).eval()
        self.inner = inner
        self.log_factor = nn.Parameter(torch.zeros(())) if closeness else None
        self.register_buffer("mean", centres.mean(0))
        # With the noise in it no coordinate is constant, not even that of a dead unit.
        self.register_buffer("scale", (centres.var(0) + noise_std**2).sqrt())

    def train(self, mode: bool = True) -> "ArchitectureAwareCritic":
        """Set the mode of the inner critic; the layers stay as they are evaluated."""
        super().train(mode)
        self.layers.eval()
        return self

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores of every x (n, ...) with every t (m, d), (n, m)."""
        with torch.no_grad():
            centres = self.layers(x).flatten(1)
        scores: Tensor = self.inner((centres - self.mean) / self.scale, (t - self.mean) / self.scale)
        if self.log_factor is None:
            return scores
        squares = torch.cdist(centres, t, compute_mode="donot_use_mm_for_euclid_dist").square()
        return scores - self.log_factor.exp() * squares / (2 * self.noise_std**2)


@torch.no_grad()
def layer_outputs(layers: nn.Module, x: Tensor) -> Tensor:
    """F(x) in evaluation mode, flattened, (n, d); the layers keep their modes.

    Args:
        layers: F.
        x: inputs in their own shape, (n, ...).
    """
    modes = {module: module.training for module in layers.modules()}
    layers.eval()
    try:
        return torch.cat([layers(part).flatten(1) for part in x.split(TAKEN)])
    finally:
        for module, mode in modes.items():
            module.training = mode


def noisy_outputs(centres: Tensor, noise_std: float, seed: int) -> Tensor:
    """F(x) + eps, one draw of Gaussian noise for each input, (n, d).

    Args:
        centres: F(x), (n, d).
        noise_std: standard deviation of every coordinate, positive.
        seed: of the draws; they come from a generator on the CPU.

    Raises:
        ValueError: the noise is not positive.
    """
    _check_noise(noise_std)
    noise = torch.randn(centres.shape, generator=generator(seed, 5)).to(centres)
    return centres + noise_std * noise


def architecture_aware(
    layers: nn.Module,
    x: Tensor,
    noise_std: float,
    bound: str | Bound = "mine",
    critic: str = "separable",
    seed: int = 0,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    max_steps: int = 1000,
    evaluate: int = 500,
    closeness: bool = True,
) -> TrainedCritic:
    """Estimate I(X; F(X) + eps) by a critic that holds F; train and held-out value together, bits.

    Args:
        layers: F, a network or its first layers; it is copied and not changed.
        x: independent inputs in the shape that F wants, (n, ...).
        noise_std: standard deviation of the Gaussian noise on every coordinate of F(x), positive.
        bound: as in ``train_critic``.
        critic: the inner critic, ``joint`` or ``separable``.
        seed: of noise, split, the critic's start and batches.
        batch_size: samples a step.
        learning_rate: of Adam.
        max_steps: at most.
        evaluate: samples of each part that are read at most; their squares are the pairs.
        closeness: whether the critic is told that t is F(x) and noise of this size, or sees both only.

    Raises:
        ValueError: the noise is not positive, a name is unknown, or there are too few samples.

    Source: Elad et al. 2019 (AA-MINE), Section 3.
    """
    if critic not in CRITICS:
        raise ValueError(f"unknown critic {critic!r}: one of {', '.join(CRITICS)}")
    centres = layer_outputs(layers, x)
    t, d = noisy_outputs(centres, noise_std, seed), centres.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, 6))
        aware = ArchitectureAwareCritic(layers, centres, noise_std, CRITICS[critic](d, d), closeness).to(
            x.device
        )
    return train_critic(x, t, bound, aware, seed, batch_size, learning_rate, max_steps,
                        evaluate=evaluate, standardise=False)  # fmt: skip


def _check_noise(noise_std: float) -> None:
    if not noise_std > 0:
        raise ValueError(
            f"noise must be positive, got {noise_std}: I(X; L) of a deterministic layer is infinite"
        )
