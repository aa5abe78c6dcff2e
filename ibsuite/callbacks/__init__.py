"""What steers or watches a fit."""

from ibsuite.callbacks.checkpoint import SaveStretch
from ibsuite.callbacks.finite import NotFinite, StopWhenNotFinite
from ibsuite.callbacks.information_plane import InformationPlane
from ibsuite.callbacks.network_compression import NetworkCompressionCode
from ibsuite.callbacks.prequential import PrequentialCode
from ibsuite.callbacks.progress import CodingProgress
from ibsuite.callbacks.pruned_network import PrunedNetworkCode
from ibsuite.callbacks.subspace import SubspaceCode
from ibsuite.callbacks.training_curve import TrainingCurve
from ibsuite.callbacks.two_part import TwoPartCode
from ibsuite.callbacks.variational import VariationalCode

__all__ = [
    "CodingProgress",
    "InformationPlane",
    "NetworkCompressionCode",
    "NotFinite",
    "PrequentialCode",
    "PrunedNetworkCode",
    "SaveStretch",
    "StopWhenNotFinite",
    "SubspaceCode",
    "TrainingCurve",
    "TwoPartCode",
    "VariationalCode",
]
