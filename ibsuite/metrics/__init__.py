"""torchmetrics over ``codes``: exact sums, float64, safe across ranks."""

from ibsuite.metrics.codelength import Codelength

__all__ = ["Codelength"]
