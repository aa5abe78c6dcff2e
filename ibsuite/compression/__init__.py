"""Fewer and coarser numbers for the same network: pruning, quantisation, random subspaces."""

from ibsuite.compression.entropy_model import LogisticMixture
from ibsuite.compression.pruning import prune
from ibsuite.compression.quantise import quantise_kmeans, quantise_uniform
from ibsuite.compression.subspaces import random_projection

__all__ = ["LogisticMixture", "prune", "quantise_kmeans", "quantise_uniform", "random_projection"]
