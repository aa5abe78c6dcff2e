"""LightningModules, one objective a file."""

from ibsuite.methods.ceb import CEB
from ibsuite.methods.constrained_vib import ConstrainedVIB
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.deep_vib import DeepVIB
from ibsuite.methods.entropy_penalised import EntropyPenalised
from ibsuite.methods.layerwise_ib import LayerwiseIB
from ibsuite.methods.nonlinear_ib import NonlinearIB
from ibsuite.methods.subspace import Subspace
from ibsuite.methods.variational import Variational
from ibsuite.methods.variational_subspace import VariationalSubspace
from ibsuite.methods.vibnet import VIBNet

__all__ = [
    "CEB",
    "ConstrainedVIB",
    "CrossEntropy",
    "DeepVIB",
    "EntropyPenalised",
    "LayerwiseIB",
    "NonlinearIB",
    "Subspace",
    "VIBNet",
    "Variational",
    "VariationalSubspace",
]
