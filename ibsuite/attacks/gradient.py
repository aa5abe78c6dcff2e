"""Attacks along the gradient of the loss, within a ball around each image: one step, or many.

An image is (n, *shape) of numbers from 0 to 1. Attacked is what ``logits`` computes: for a stochastic network
that should be its mean prediction over fixed draws, whose gradient is exact and does not hide behind noise.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)
Logits = Callable[[Tensor], Tensor]
"""Images, (n, *shape), to logits, (n, classes); differentiable, and of each image alone."""


def fgsm(logits: Logits, images: Tensor, labels: Tensor, epsilon: float, norm: Norm = "linf") -> Tensor:
    """Images after one step of length epsilon up the cross entropy, cut to the range 0 to 1.

    x + epsilon sign(g) in the maximum norm, and x + epsilon g / |g| in the Euclidean one.

    Args:
        logits: what is attacked.
        images: (n, *shape), from 0 to 1.
        labels: the true ones, (n,).
        epsilon: length of the step, in units of the range of a pixel.
        norm: ``linf`` or ``l2``.

    Raises:
        ValueError: a number is out of range, or the norm is unknown.

    Source: Goodfellow, Shlens & Szegedy 2015 (the fast gradient sign method).
    """
    _check(images, epsilon, norm)
    gradient, _ = _gradient(logits, images, labels)
    return (images + epsilon * _steepest(gradient, norm)).clamp(0, 1)


def pgd(
    logits: Logits,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: float | None = None,
) -> Tensor:
    """Images of the greatest cross entropy that projected gradient ascent meets in a ball of radius epsilon.

    Each step goes ``step_size`` up the cross entropy, then back to the ball and to the range 0 to 1. It
    begins at the image itself, without a random start, so that the same call has the same result. A single
    step of length epsilon is ``fgsm``.

    Args:
        logits: what is attacked.
        images: (n, *shape), from 0 to 1.
        labels: the true ones, (n,).
        epsilon: radius, in units of the range of a pixel.
        norm: ``linf`` or ``l2``.
        steps: how many.
        step_size: length of each; None: 2.5 epsilon / steps, which can reach every point of the ball.

    Raises:
        ValueError: a number is out of range, or the norm is unknown.

    Source: Madry et al. 2018 (projected gradient descent).
    """
    _check(images, epsilon, norm)
    size = 2.5 * epsilon / steps if step_size is None and steps else step_size
    if steps < 1 or size is None or size < 0:
        raise ValueError(
            f"an attack takes 1 step or more of a length that is not negative, got {steps}, {size}"
        )
    found, best = images.clone(), torch.full((len(images),), -torch.inf, device=images.device)
    now = images
    for _ in range(steps):
        gradient, loss = _gradient(logits, now, labels)
        if now is not images:
            found, best = _greater(found, best, now, loss)
        now = _projected(now + size * _steepest(gradient, norm), images, epsilon, norm)
    with torch.no_grad():
        loss = F.cross_entropy(logits(now), labels, reduction="none")
    return _greater(found, best, now, loss)[0]


def perturbation_norm(difference: Tensor, norm: Literal["linf", "l2", "l0"]) -> Tensor:
    """Greatest change of a number, Euclidean length, or how many numbers change (by over 1e-6), (n,)."""
    flat = difference.flatten(1).abs()
    if norm == "l0":
        return (flat > 1e-6).sum(1).to(flat.dtype)
    return flat.amax(1) if norm == "linf" else flat.square().sum(1).sqrt()


def _gradient(logits: Logits, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the cross entropy of each image, and the cross entropy, (n,)."""
    with torch.enable_grad():
        moved = images.detach().requires_grad_()
        loss = F.cross_entropy(logits(moved), labels, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), moved)
    return gradient, loss.detach()


def _steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 along which the loss rises most; none where it is flat."""
    if norm == "linf":
        return gradient.sign()
    # A sure network has gradients whose squares underflow.
    scaled = gradient / _as_images(gradient.flatten(1).abs().amax(1), gradient).clamp(min=1e-38)
    length = scaled.flatten(1).square().sum(1).sqrt()
    return scaled / _as_images(length, gradient).clamp(min=1e-6)


def _projected(moved: Tensor, images: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The nearest images in the ball; cut to the range they stay in it, for its centre is in the range."""
    change = moved - images
    if norm == "linf":
        change = change.clamp(-epsilon, epsilon)
    else:
        length = _as_images(perturbation_norm(change, "l2"), change)
        change = change * (epsilon / length.clamp(min=epsilon)) if epsilon else torch.zeros_like(change)
    return (images + change).clamp(0, 1)


def _greater(found: Tensor, best: Tensor, now: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    better = loss > best
    return torch.where(_as_images(better, now), now, found), torch.where(better, loss, best)


def _as_images(numbers: Tensor, images: Tensor) -> Tensor:
    return numbers.view(-1, *[1] * (images.ndim - 1))


def _check(images: Tensor, epsilon: float, norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"the norm must be one of {', '.join(NORMS)}, got {norm!r}")
    if not epsilon >= 0:
        raise ValueError(f"epsilon must not be negative, got {epsilon}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("images to be attacked must lie between 0 and 1")
