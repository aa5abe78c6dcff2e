"""One ReLU unit f_w(x) = max(0, w'x) with x ~ N(0, diag(lambda)): the exact cost of changing its weights.

Where the golden rules of Gao et al. 2019 (section 5, theorem 4, appendix B) can be checked to the last digit.
What holds of them is in ``docs/methods/rate_distortion.md``.
"""

import math

import torch
from torch import Tensor


def relu_distortion(weights: Tensor, compressed: Tensor, importance: Tensor) -> Tensor:
    """E[(f_w(X) - f_w_hat(X))^2], in the unit of the squared output, (...).

    With norms a = |w|, b = |w_hat| and the angle t between them, all under the scalar product w' S_X w_hat ::

        E = 1/2 |w - w_hat|^2 - a b / pi (sin t - t cos t).

    The first term is equation 5's quadratic, whose importance matrix is S_X / 2 for this unit; the second is
    never negative, so the quadratic never promises too little.

    Args:
        weights: w, (m,) or any shape that broadcasts with the next.
        compressed: w_hat, (..., m).
        importance: lambda, the variances of the inputs, (m,), at least 0.

    Raises:
        ValueError: an importance is negative or not finite, or not one for each weight.

    Source: Cho & Saul 2009, arc-cosine kernel: E[f_w f_w_hat] = a b (sin t + (pi - t) cos t) / (2 pi).
    """
    root = _checked(importance, weights).sqrt()
    u, v = weights.double() * root, compressed.double() * root
    a, b = u.norm(dim=-1), v.norm(dim=-1)
    # This form of the angle is accurate where it is small, and 0 where a vector is.
    left, right = a[..., None] * v, b[..., None] * u
    angle = 2 * torch.atan2((left - right).norm(dim=-1), (left + right).norm(dim=-1))
    quadratic = 0.5 * (u - v).square().sum(-1)
    return (quadratic - a * b / math.pi * (angle.sin() - angle * angle.cos())).clamp(min=0.0)


def prune_least_important(weights: Tensor, importance: Tensor, kept: int) -> Tensor:
    """``weights`` with all but ``kept`` set to zero, those of the smallest lambda_i w_i^2, float64.

    Of all prunings to that number it has the least error, in equation 5's quadratic and in the exact one of a
    ReLU unit. The latter is |w|^2 [1/2 sin^2 t - cos t (sin t - t cos t) / pi], where cos^2 t is the share
    of |w|^2 = sum_i lambda_i w_i^2 that is kept, and it grows with t on [0, pi / 2]. Importances that are all
    equal make this magnitude pruning.

    Args:
        weights: w, (..., m).
        importance: lambda, (m,), at least 0.
        kept: how many weights of each row stay, 0 to m.

    Raises:
        ValueError: an argument is outside the above.

    Source: Gao et al. 2019, corollary 1.
    """
    scores = _checked(importance, weights) * weights.double().square()
    if not 0 <= kept <= weights.shape[-1]:
        raise ValueError(f"kept must lie between 0 and {weights.shape[-1]}, got {kept}")
    stay = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(kept).indices, True)
    return torch.where(stay, weights.double(), 0.0)


def _checked(importance: Tensor, weights: Tensor) -> Tensor:
    size = importance.double()
    if weights.shape[-1:] != size.shape or not bool((size.isfinite() & (size >= 0)).all()):
        raise ValueError("importance must be finite, at least 0 and one number for each weight")
    return size
