"""What steers or watches a fit."""

from ibsuite.callbacks.checkpoint import SaveStretch
from ibsuite.callbacks.finite import NotFinite, StopWhenNotFinite
from ibsuite.callbacks.prequential import PrequentialCode
from ibsuite.callbacks.progress import CodingProgress
from ibsuite.callbacks.training_curve import TrainingCurve
from ibsuite.callbacks.variational import VariationalCode

__all__ = [
    "CodingProgress",
    "NotFinite",
    "PrequentialCode",
    "SaveStretch",
    "StopWhenNotFinite",
    "TrainingCurve",
    "VariationalCode",
]
