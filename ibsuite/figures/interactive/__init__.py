"""The same figures for a page that is read in a browser: plain Plotly specifications, ``{data, layout}``.

They are dictionaries of numbers and words, so that drawing is left to the browser and nothing is imported
here. Whatever a user wrote has to be escaped before: Plotly reads a little HTML in names.
"""

from ibsuite.figures.interactive.blocks import blocks_spec, ratio_spec
from ibsuite.figures.interactive.codes import Dot, charges_spec, ratios_spec
from ibsuite.figures.interactive.curves import curves_spec
from ibsuite.figures.interactive.networks import tradeoff_spec, training_spec, units_spec
from ibsuite.figures.interactive.planes import layers_spec, representations_spec
from ibsuite.figures.interactive.settings import Trial, settings_spec
from ibsuite.figures.interactive.style import Spec

__all__ = [
    "Dot",
    "Spec",
    "Trial",
    "blocks_spec",
    "charges_spec",
    "curves_spec",
    "layers_spec",
    "ratio_spec",
    "ratios_spec",
    "representations_spec",
    "settings_spec",
    "tradeoff_spec",
    "training_spec",
    "units_spec",
]
