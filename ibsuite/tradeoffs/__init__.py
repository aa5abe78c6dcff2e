"""Size against distortion: what a trained network keeps of its predictions when it is pruned or quantised."""

from ibsuite.tradeoffs.curve import Curve, trace
from ibsuite.tradeoffs.folder import begin_curve, curve_folder, write_curve
from ibsuite.tradeoffs.network import TrainedNetwork
from ibsuite.tradeoffs.points import settings
from ibsuite.tradeoffs.readings import reading
from ibsuite.tradeoffs.retrain import Retraining

__all__ = [
    "Curve",
    "Retraining",
    "TrainedNetwork",
    "begin_curve",
    "curve_folder",
    "reading",
    "settings",
    "trace",
    "write_curve",
]
