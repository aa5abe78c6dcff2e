"""A representation of two dimensions: the Gaussian of every input, on the decoder's uncertainty."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ibsuite.figures.prequential import FONTS, UNIFORM

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def representation_figure(arrays: Mapping[str, Any], title: str = "") -> "Figure":
    """Ellipses of one standard deviation of p(z|x), coloured by class, over the entropy of q(y|z), bits.

    Source: Alemi et al. 2017 (Deep VIB), the figure of embeddings with K = 2.

    Args:
        arrays: ``representation.npz``: means (n, 2), factors (n, 2, 2), labels (n,), and the entropy over the
            plane, (len(y), len(x)).
        title: above the plane.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(6.4, 5.0), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    x, y = arrays["x"], arrays["y"]
    greys = LinearSegmentedColormap.from_list("entropy", ["white", UNIFORM])
    entropy = arrays["entropy_bits"]
    shades = axes.pcolormesh(x, y, entropy, cmap=greys, shading="nearest", rasterized=True, vmin=0)
    figure.colorbar(shades, ax=axes, label="H(q(y|z)), bits", shrink=0.8)
    # Axes of an ellipse: singular vectors of S; widths are whole, two standard deviations.
    directions, deviations, _ = np.linalg.svd(arrays["factors"])
    angles = np.degrees(np.arctan2(directions[:, 1, 0], directions[:, 0, 0]))
    labels = np.asarray(arrays["labels"])
    classes = np.unique(labels)
    colours = colormaps["tab10" if len(classes) <= 10 else "turbo"]
    places = np.arange(len(classes)) if len(classes) <= 10 else np.linspace(0, 1, len(classes))
    by_class = {int(label): colours(place) for label, place in zip(classes, places, strict=True)}
    axes.add_collection(
        EllipseCollection(
            2 * deviations[:, 0],
            2 * deviations[:, 1],
            angles,
            units="xy",
            offsets=arrays["means"],
            transOffset=axes.transData,
            facecolors="none",
            edgecolors=[by_class[int(label)] for label in labels],
            linewidths=0.8,
        )
    )
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    axes.set_xlabel("z₁", fontsize=FONTS["label"])
    axes.set_ylabel("z₂", fontsize=FONTS["label"])
    axes.set_title(title, fontsize=FONTS["label"], loc="left")
    axes.tick_params(labelsize=FONTS["tick"], length=3)
    if len(classes) <= 10:
        handles = [Line2D([], [], color=colour, label=str(label)) for label, colour in by_class.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=10, fontsize=8, frameon=False,
                      handlelength=1.0)  # fmt: skip
    return figure
