"""Fewer and coarser numbers for the same network: pruning, quantisation, random subspaces."""

from ibsuite.compression.code_lengths import entropy_bits, huffman_bits, paper_ratio, shannon_bits
from ibsuite.compression.entropy_constrained import quantise_entropy_constrained
from ibsuite.compression.entropy_model import LogisticMixture
from ibsuite.compression.grams import layer_grams
from ibsuite.compression.importance import OBJECTIVES, Importance, importance
from ibsuite.compression.kmeans import Clusters, weighted_kmeans
from ibsuite.compression.moments import Moments, weight_moments
from ibsuite.compression.optimal_brain import LayerPruning, OptimalBrainPruning, optimal_brain_quantise
from ibsuite.compression.pruning import prune, zeroing_costs
from ibsuite.compression.quantise import quantise_clusters, quantise_kmeans, quantise_uniform
from ibsuite.compression.subspaces import random_projection

__all__ = [
    "OBJECTIVES",
    "Clusters",
    "Importance",
    "LayerPruning",
    "LogisticMixture",
    "Moments",
    "OptimalBrainPruning",
    "entropy_bits",
    "huffman_bits",
    "importance",
    "layer_grams",
    "optimal_brain_quantise",
    "paper_ratio",
    "prune",
    "quantise_clusters",
    "quantise_entropy_constrained",
    "quantise_kmeans",
    "quantise_uniform",
    "random_projection",
    "shannon_bits",
    "weight_moments",
    "weighted_kmeans",
    "zeroing_costs",
]
