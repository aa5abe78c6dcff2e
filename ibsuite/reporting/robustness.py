"""Errors under attack of finished runs, as published figures."""

from collections.abc import Mapping
from typing import Any


def robustness_numbers(document: Mapping[str, Any]) -> dict[str, float]:
    """Errors and lengths by their names with unit, such as ``validation_pgd_linf_0.1_error_percent``.

    Args:
        document: ``robustness.json``.
    """
    split, found = document["split"], {}
    for name, attack in document["attacks"].items():
        for epsilon, error in zip(attack["epsilon"], attack["error_percent"], strict=True):
            found[f"{split}_{name}_{epsilon:g}_error_percent"] = error
    for name, attack in document.get("carlini_wagner_l2", {}).items():
        found[f"{split}_carlini_wagner_{name}_success_percent"] = attack["success_percent"]
        if attack["l2_mean"] is not None:
            found[f"{split}_carlini_wagner_{name}_l2"] = attack["l2_mean"]
    return found
