"""Where logged numbers go: W&B, and a table that needs nothing to be read."""

from ibsuite.loggers.table import MetricsTable
from ibsuite.loggers.weights_and_biases import WeightsAndBiases

__all__ = ["MetricsTable", "WeightsAndBiases"]
