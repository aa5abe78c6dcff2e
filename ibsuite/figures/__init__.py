"""Figures from plain arrays; matplotlib is imported when one is drawn."""

from ibsuite.figures.bottleneck import PlanePoint, bottleneck_figure
from ibsuite.figures.calibration import calibration_figure
from ibsuite.figures.codes import Bar, Panel, codes_figure
from ibsuite.figures.compression import compression_figure
from ibsuite.figures.compression_curves import compression_curves_figure, tuning_figure
from ibsuite.figures.information_plane import embedding_figure, information_plane_figure
from ibsuite.figures.noise_curve import noise_curve_figure
from ibsuite.figures.offline import offline_figure
from ibsuite.figures.prequential import prequential_figure
from ibsuite.figures.rate_distortion import (
    Filling,
    RatePoint,
    rate_comparison_figure,
    water_filling_figure,
)
from ibsuite.figures.representation import representation_figure
from ibsuite.figures.robustness import robustness_figure
from ibsuite.figures.tradeoff import Compressed, tradeoff_figure
from ibsuite.figures.training import training_figure

__all__ = [
    "Bar",
    "Compressed",
    "Filling",
    "Panel",
    "PlanePoint",
    "RatePoint",
    "bottleneck_figure",
    "calibration_figure",
    "codes_figure",
    "compression_curves_figure",
    "compression_figure",
    "embedding_figure",
    "information_plane_figure",
    "noise_curve_figure",
    "offline_figure",
    "prequential_figure",
    "rate_comparison_figure",
    "representation_figure",
    "robustness_figure",
    "tradeoff_figure",
    "training_figure",
    "tuning_figure",
    "water_filling_figure",
]
