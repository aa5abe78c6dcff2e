"""Tasks of known mutual information, and every estimator of the house on them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.information.closed_forms import correlation_of
from ibsuite.information.critics import CRITICS
from ibsuite.information.densities import difference_of_entropies, noisy_upper
from ibsuite.information.estimates import Estimate, Kind
from ibsuite.information.kernels import kernel_bounds
from ibsuite.information.plug_in import binned, ksg
from ibsuite.information.training import train_critic
from ibsuite.seeds import derive_seed, generator
from ibsuite.units import nats_to_bits

TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda v: v,
    "cube": lambda v: v**3,
    "asinh": torch.asinh,
    "half-cube": lambda v: v.sign() * v.abs() ** 1.5,
}
"""Maps of each coordinate that can be undone, so that the information stays; they change the tails."""


class Task(NamedTuple):
    """Pairs of Gaussians with equal correlations, each coordinate transformed; the information is known."""

    dimensions: int
    """Coordinates of x, and of y."""
    nats: float
    """I(X; Y)."""
    transform: str = "none"
    """A name in ``TRANSFORMS``, applied to every coordinate of x and y."""

    @property
    def mi_bits(self) -> float:
        """I(X; Y), bits."""
        return nats_to_bits(self.nats)

    @property
    def correlation(self) -> float:
        """Of each coordinate of x with that of y, before the transform."""
        return correlation_of(self.mi_bits, self.dimensions)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Independent pairs, each (n, dimensions), float64.

        Args:
            n: number of pairs.
            seed: of the draws.

        Raises:
            ValueError: the transform is unknown.
        """
        if self.transform not in TRANSFORMS:
            raise ValueError(f"unknown transform {self.transform!r}: one of {', '.join(TRANSFORMS)}")
        draws, rho = generator(seed, 3), self.correlation
        x, noise = torch.randn(2, n, self.dimensions, generator=draws, dtype=torch.float64)
        y = rho * x + math.sqrt(1 - rho**2) * noise
        return TRANSFORMS[self.transform](x), TRANSFORMS[self.transform](y)


Readings = dict[str, Estimate]
CRITIC_BOUNDS = ("dv", "mine", "nwj", "infonce", "smile")
ESTIMATORS = (
    *CRITIC_BOUNDS, "gaussian", "gaussian_copula", "autoregressive", "noisy_upper", "kernel", "ksg", "binned",
)  # fmt: skip
"""Names that ``estimate`` takes."""


def estimate(
    name: str,
    task: Task,
    samples: int,
    seed: int,
    critic: str = "joint",
    batch_size: int = 64,
    steps: int = 800,
) -> Readings:
    """What an estimator says about a task, by the name of each reading; nothing where it does not apply.

    A critic trained by a plug-in is read as a lower bound as well: ``smile``, ``smile_lower``.
    ``noisy_upper`` and ``kernel`` know that y = rho x + noise, and so need the transform ``none``;
    ``binned`` needs one dimension.

    Args:
        name: one of ``ESTIMATORS``.
        task: where the truth is known.
        samples: drawn from it.
        seed: of the samples, the split and the training.
        critic: ``joint`` or ``separable``.
        batch_size: samples a step of a critic.
        steps: of a critic, at most.

    Raises:
        ValueError: a name is unknown, or there are too few samples.
    """
    x, y = task.sample(samples, seed)
    if name in CRITIC_BOUNDS:
        if critic not in CRITICS:
            raise ValueError(f"unknown critic {critic!r}: one of {', '.join(CRITICS)}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, 4))
            network = CRITICS[critic](task.dimensions, task.dimensions)
        trained = train_critic(x, y, name, network, seed, batch_size, max_steps=steps)
        both = {name: trained.estimate, f"{name}_lower": trained.lower}
        return {name: trained.estimate} if trained.estimate.kind is Kind.LOWER else both
    if name in ("gaussian", "gaussian_copula", "autoregressive"):
        family = "autoregressive" if name == "autoregressive" else "gaussian"
        return {name: difference_of_entropies(x, y, family, seed, normal_marginals=name != "gaussian")}
    if name in ("noisy_upper", "kernel"):
        return _noisy(name, task, x, y, seed) if task.transform == "none" else {}
    if name == "ksg":
        return {name: ksg(x, y)}
    if name == "binned":
        return {name: binned(x, y)} if task.dimensions == 1 else {}
    raise ValueError(f"unknown estimator {name!r}: one of {', '.join(ESTIMATORS)}")


def _noisy(name: str, task: Task, x: Tensor, y: Tensor, seed: int) -> Readings:
    """Estimators that know the noise."""
    variance = 1 - task.correlation**2
    if name == "noisy_upper":
        return {name: noisy_upper(y, variance * torch.eye(task.dimensions), seed=seed)}
    bounds = kernel_bounds(task.correlation * x, math.sqrt(variance))
    ceiling = math.log2(len(x))
    return {
        "kernel_upper": Estimate(Kind.UPPER, math.nan, bounds.upper_bits),
        "kernel_lower": Estimate(Kind.LOWER, math.nan, bounds.lower_bits, ceiling),
    }
