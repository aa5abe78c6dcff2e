"""Weight importance: what moving a weight costs.

Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), sections 5 and 6.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ibsuite.compression.moments import Moment, Moments, zeros

Objective = Literal["baseline", "regression", "unsupervised", "gradient", "hessian", "gradient_hessian"]
OBJECTIVES: dict[Objective, tuple[Moment, ...]] = {
    "baseline": (),
    "regression": ("regression",),
    "unsupervised": ("unsupervised",),
    "gradient": ("gradient_square",),
    "hessian": ("curvature",),
    "gradient_hessian": ("gradient_square", "curvature_square"),
}
"""Objectives and the moments that each needs."""


class Importance(NamedTuple):
    """What moving weights costs: I_i d^2 + H_i d^4 for weight i moved by d; by name, float64."""

    quadratic: dict[str, Tensor]
    """I."""
    quartic: dict[str, Tensor]
    """H; zeros where the objective has none."""


def importance(moments: Moments, objective: Objective, mu: float = 0.0) -> Importance:
    """What moving each weight by d costs, I d^2 + H d^4, under an objective of the paper's Tables 1 and 2.

    ================= ========================== ============================== ==================
    objective         I                          H                              paper
    ================= ========================== ============================== ==================
    baseline          1                          0                              Tables 1 and 2
    regression        E[sum_c (dz_c/dw)^2]       0                              eq. 5
    unsupervised      E[sum_c (df_c/dw)^2 / f_c] 0                              eq. 6, Table 1
    gradient          E[(dL/dw)^2]               0                              Table 2
    hessian           E[h] + m                   0                              Table 2
    gradient_hessian  E[(dL/dw)^2]               (E[h^2] + m) / 4               Table 2
    ================= ========================== ============================== ==================

    Where w moves by a little, eq. 6 serves all of these distances between the predictions before and behind,
    up to a factor: KL divergence and its reverse (1/2), Jensen-Shannon divergence and squared Hellinger
    distance 1/2 sum_c (sqrt(f_c) - sqrt(g_c))^2 (1/8). The paper keeps the diagonal of the matrix only, and
    so does this.

    Estimates of E[h] and E[h^2] below zero, which random probes give, count as zero: a cost that falls
    without bound as a weight moves is no cost.

    Args:
        moments: those of ``OBJECTIVES[objective]`` at least.
        objective: which.
        mu: >= 0. m is mu times the mean, over all weights and biases of the network, of what it is added to,
            so that one grid of mu serves all networks (the constant of appendix C.3.2, for Hessians that are
            zero behind dead ReLUs).

    Raises:
        ValueError: a moment is missing; mu is negative, or given to an objective without a Hessian.

    Source: Gao et al. 2019 (arXiv 1810.06401), eqs. 5 and 6, Tables 1 and 2, appendix C.3.2.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}.")
    if not 0 <= mu < math.inf:
        raise ValueError(f"mu must not be negative, got {mu}.")
    if mu and objective not in ("hessian", "gradient_hessian"):
        raise ValueError(f"mu is added to Hessians, and the objective {objective!r} has none; set mu=0.")
    zero = {name: zeros(shape) for name, shape in moments.shapes.items()}
    if objective == "baseline":
        return Importance({name: each + 1 for name, each in zero.items()}, zero)
    needed: list[dict[str, Tensor]] = []
    for name in OBJECTIVES[objective]:
        moment = getattr(moments, name)
        if moment is None:
            raise ValueError(f"The objective {objective!r} needs {name}; ask weight_moments for it.")
        needed.append(moment)
    if objective == "hessian":
        return Importance(_lifted(needed[0], mu), zero)
    if objective == "gradient_hessian":
        quartic = {name: each / 4 for name, each in _lifted(needed[1], mu).items()}
        return Importance(needed[0], quartic)
    return Importance(needed[0], zero)


def _lifted(estimate: dict[str, Tensor], mu: float) -> dict[str, Tensor]:
    """An estimate without negative values, plus mu times its mean over all weights."""
    clipped = {name: each.clamp(min=0) for name, each in estimate.items()}
    mean = float(torch.cat([each.flatten() for each in clipped.values()]).mean())
    return {name: each + mu * mean for name, each in clipped.items()}
