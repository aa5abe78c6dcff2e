"""Codes and methods small enough for a test."""

from typing import Any

import torch

from ibsuite.callbacks import PrequentialCode
from ibsuite.methods import CrossEntropy
from ibsuite.nn import MLP


def small_code(**settings: Any) -> PrequentialCode:
    """Prequential coding in a second: few steps, two stops, two temperatures."""
    few = {"epochs": 1, "min_steps": 6, "max_steps": 12, "stops": [0.5, 1.0], "temperatures": [0.5, 1.0]}
    return PrequentialCode(**{**few, **settings})


def small_method(**settings: Any) -> CrossEntropy:
    """A small network under Adam."""
    network = MLP((1, 8, 8), 10, hidden=(16,))
    return CrossEntropy(network, lambda p: torch.optim.AdamW(p, lr=0.01), **settings)
