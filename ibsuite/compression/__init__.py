"""Fewer and coarser numbers for the same network: pruning, quantisation, random subspaces."""

from ibsuite.compression.pruning import prune
from ibsuite.compression.quantise import quantise_kmeans, quantise_uniform

__all__ = ["prune", "quantise_kmeans", "quantise_uniform"]
