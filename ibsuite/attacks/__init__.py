"""Small changes of an image after which a network is wrong; on pixels from 0 to 1, torch only."""

from ibsuite.attacks.carlini_wagner import carlini_wagner_l2
from ibsuite.attacks.gradient import fgsm, perturbation_norm, pgd
from ibsuite.attacks.readings import errors_under_attack, least_changes

__all__ = [
    "carlini_wagner_l2",
    "errors_under_attack",
    "fgsm",
    "least_changes",
    "perturbation_norm",
    "pgd",
]
