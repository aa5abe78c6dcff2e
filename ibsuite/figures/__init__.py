"""Figures from plain arrays: no trainer, no run folder, no global plotting state."""

from ibsuite.figures.prequential import prequential_figure

__all__ = ["prequential_figure"]
