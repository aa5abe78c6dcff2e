"""LightningModules, one objective a file."""

from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.entropy_penalised import EntropyPenalised
from ibsuite.methods.subspace import Subspace
from ibsuite.methods.variational import Variational
from ibsuite.methods.variational_subspace import VariationalSubspace
from ibsuite.methods.vibnet import VIBNet

__all__ = ["CrossEntropy", "EntropyPenalised", "Subspace", "VIBNet", "Variational", "VariationalSubspace"]
