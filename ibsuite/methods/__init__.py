"""LightningModules, one objective a file."""

from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.variational import Variational

__all__ = ["CrossEntropy", "Variational"]
