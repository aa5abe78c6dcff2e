"""LightningModules, one objective a file."""

from ibsuite.methods.cross_entropy import CrossEntropy

__all__ = ["CrossEntropy"]
