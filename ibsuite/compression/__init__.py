"""Fewer and coarser numbers for the same network: pruning, quantisation, random subspaces."""

from ibsuite.compression.entropy_model import LogisticMixture
from ibsuite.compression.importance import OBJECTIVES, Importance, Moments, importance, weight_moments
from ibsuite.compression.kmeans import Clusters, weighted_kmeans
from ibsuite.compression.pruning import prune, zeroing_costs
from ibsuite.compression.quantise import quantise_clusters, quantise_kmeans, quantise_uniform
from ibsuite.compression.subspaces import random_projection

__all__ = [
    "OBJECTIVES",
    "Clusters",
    "Importance",
    "LogisticMixture",
    "Moments",
    "importance",
    "prune",
    "quantise_clusters",
    "quantise_kmeans",
    "quantise_uniform",
    "random_projection",
    "weight_moments",
    "weighted_kmeans",
    "zeroing_costs",
]
