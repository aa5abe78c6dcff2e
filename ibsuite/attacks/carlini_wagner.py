"""Carlini and Wagner's attack, by foolbox: the least change after which a network is wrong."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ibsuite.interface import Refusal


def carlini_wagner_l2(
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    targeted: bool = False,
    steps: int = 1000,
    searches: int = 9,
) -> Tensor:
    """Images with the least Euclidean change that was found under which the prediction is as wanted.

    Where none was found an image comes back as it was, or changed in vain: look at its prediction.

    Args:
        logits: what is attacked: images, (n, *shape), to logits, (n, classes); differentiable.
        images: from 0 to 1.
        labels: the true ones, (n,); with ``targeted`` those that are to be predicted.
        targeted: whether the prediction has to be ``labels``, or anything but them.
        steps: of the optimiser in each search, at most.
        searches: of a binary search for the weight of the change.

    Raises:
        Refusal: foolbox is not installed.

    Source: Carlini & Wagner 2017, the L2 attack; Deep VIB's measure of robustness.
    """
    try:
        import foolbox
    except ImportError as error:
        raise Refusal(
            "the attack of Carlini and Wagner is foolbox's, which is not installed: "
            "pip install 'ibsuite[attacks]'"
        ) from error
    model = foolbox.PyTorchModel(_Network(logits).eval(), bounds=(0, 1), device=images.device)
    wanted = foolbox.criteria.TargetedMisclassification if targeted else foolbox.criteria.Misclassification
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=searches, steps=steps)
    with torch.enable_grad():
        _, changed, _ = attack(model, images, wanted(labels), epsilons=None)
    return changed.detach()


class _Network(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)
