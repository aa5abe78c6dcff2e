"""What a code that trains once sends: a model, and the labels under it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Description:
    """A model and the labels under it, as they are sent."""

    charges: dict[str, float]
    """Named parts of the total but ``choices``; ``labels`` among them."""
    log2_probs: Tensor
    """Log2-probability of every label, (draws, n): one draw unless the model is a distribution."""
    accuracy: float
    """Share of the labels that the model predicts."""
    alternatives: int = 1
    """Descriptions of these labels that this one was chosen from; log2 of it is charged."""
    compared: dict[str, float] = field(default_factory=dict)
    """Totals but ``choices`` that other readings would give."""
    sent: dict[str, float] = field(default_factory=dict)
    """Parts of the message, bits, where these are not the charges; to be shown beside them."""
    temperature: float = 1.0
    """Divides the logits; one of the alternatives."""
    standard_error_bits: float | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Rows of ``curve.csv``."""
    weights: bytes | None = None
    """The file of the model, where there is one."""
    logits: Tensor | None = None
    """Of every label under the model as it is sent, (n, K), where it is sent."""
