"""What attacks make of a network: errors over the size of the change, and the least change that misleads."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ibsuite.attacks.carlini_wagner import carlini_wagner_l2
from ibsuite.attacks.gradient import Logits, Norm, fgsm, perturbation_norm, pgd
from ibsuite.seeds import generator

BATCH = 500
TARGETS = 4001
"""Key of the labels that a targeted attack aims at."""


def errors_under_attack(
    logits: Logits, images: Tensor, labels: Tensor, epsilons: Mapping[Norm, Sequence[float]], steps: int
) -> dict[str, dict[str, list[float]]]:
    """Errors in percent: for each of fgsm_linf, pgd_linf, ... the lists ``epsilon`` and ``error_percent``.

    Args:
        logits: what is attacked.
        images: (n, *shape), from 0 to 1.
        labels: the true ones, (n,).
        epsilons: sizes of the change by norm.
        steps: of projected gradient ascent.

    Raises:
        ValueError: an epsilon or the number of steps is out of range.
    """
    attacks = {"fgsm": (fgsm, {}), "pgd": (pgd, {"steps": steps})}
    found = {}
    for norm, sizes in epsilons.items():
        for name, (attack, settings) in attacks.items():
            errors = []
            for epsilon in sizes:
                wrong = 0
                for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
                    changed = attack(logits, x, y, epsilon, norm, **settings)
                    wrong += int(_wrong(logits, changed, y).sum())
                errors.append(100 * wrong / len(labels))
            found[f"{name}_{norm}"] = {"epsilon": list(sizes), "error_percent": errors}
    return found


def least_changes(
    logits: Logits, images: Tensor, labels: Tensor, count: int, steps: int
) -> dict[str, dict[str, Any]]:
    """Deep VIB's three attacks by Carlini and Wagner's method, of images that are predicted rightly.

    Ten images of 0 to be taken for 1; the first ``count`` images for another label drawn at random; the same
    for any other.

    Args:
        logits: what is attacked.
        images: (n, *shape), from 0 to 1.
        labels: the true ones, (n,).
        count: of images for the latter two.
        steps: of the optimiser in each search.

    Returns:
        For zeros_to_ones, random_target and untargeted: ``inputs``, ``success_percent`` and the mean lengths
        of the changes that succeeded, ``l2_mean``, ``linf_mean`` and ``l0_mean``, None where none did.

    Raises:
        Refusal: foolbox is not installed.

    Source: Alemi et al. 2017 (Deep VIB), section 4.2.3.
    """
    right, classes = ~_wrong(logits, images, labels), int(logits(images[:1]).shape[1])
    zeros, first = (
        (labels == 0).nonzero()[:10, 0],
        torch.arange(min(count, len(labels)), device=labels.device),
    )
    shift = torch.randint(1, classes, (len(first),), generator=generator(TARGETS)).to(labels.device)
    plans = {
        "zeros_to_ones": (zeros, torch.ones_like(zeros), True),
        "random_target": (first, (labels[first] + shift) % classes, True),
        "untargeted": (first, labels[first], False),
    }
    found = {}
    for name, (rows, wanted, targeted) in plans.items():
        kept = right[rows]  # an image that is wrong already is no success
        rows, wanted = rows[kept], wanted[kept]
        if not len(rows):
            continue
        changed = carlini_wagner_l2(logits, images[rows], wanted, targeted, steps)
        success = _wrong(logits, changed, wanted) != targeted
        change = (changed - images[rows])[success]
        lengths = {n: perturbation_norm(change, n).mean() for n in ("l2", "linf", "l0")}
        found[name] = {
            "inputs": len(rows),
            "success_percent": 100 * float(success.double().mean()),
            **{f"{n}_mean": float(length) if len(change) else None for n, length in lengths.items()},
        }
    return found


@torch.no_grad()
def _wrong(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """Which predictions are not ``labels``, (n,), bool."""
    return logits(images).argmax(1) != labels
