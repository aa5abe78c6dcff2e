"""Weighted water-filling, and compressors of a linear model beside the least number of bits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ibsuite.figures.prequential import FONTS, MARKERS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WATER = "#A6CFE8"
BREAK = "#C0392B"
LEAST_GAP = 0.1
"""Where the axis of bits above the bound begins: what is nearer is on the bound."""
UNIFORM_GAP = 0.5 * np.log2(2 * np.pi * np.e / 12)
"""Bits a weight that uniform scalar quantisation at a small step costs above the bound."""


class Filling(NamedTuple):
    """Rectangles with water in them."""

    distortion: float
    """D, in the unit of the squared output."""
    rate_bits: float
    """R(D)."""
    levels: Sequence[float]
    """D_i of each rectangle."""


class RatePoint(NamedTuple):
    """What one setting of a compressor needs."""

    distortion: float
    """Measured, in the unit of the squared output."""
    rate_bits: float
    """For all weights together."""
    bound_bits: float
    """R(D) at that distortion."""
    active_weights: int
    """Weights whose rectangle is not full at that distortion."""


Curve = Sequence[tuple[float, float]]
"""(D, bits), least D first."""


def water_filling_figure(
    importance: Sequence[float],
    variance: Sequence[float],
    fillings: Sequence[Filling],
    curve: Curve,
    break_points: Curve,
) -> "Figure":
    """Rectangles of width lambda_i and height E W_i^2 at some distortions, and the curve R(D) in bits.

    Args:
        importance: lambda_i.
        variance: E W_i^2.
        fillings: one panel each, (a), (b) and so on, which are also marked on the curve.
        curve: R(D).
        break_points: where a rectangle gets full, marked on the curve.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is nothing to fill.

    Source: Gao et al. 2019, figure 6.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not fillings or not len(importance):
        raise ValueError("no rectangle to fill")
    figure = Figure(figsize=(2.7 * len(fillings), 5.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, len(fillings), height_ratios=(1, 1.15))
    letters = [f"({chr(ord('a') + index)})" for index in range(len(fillings) + 1)]
    for index, (letter, filling) in enumerate(zip(letters, fillings, strict=False)):
        axes = figure.add_subplot(grid[0, index])
        _fill(axes, importance, variance, filling.levels)
        axes.set_title(f"{letter} D = {filling.distortion:g}", fontsize=FONTS["label"])
        if not index:
            axes.set_ylabel("Height E W² and level Dᵢ", fontsize=FONTS["label"])
    axes = figure.add_subplot(grid[1, :])
    axes.plot(*zip(*curve, strict=True), color=PALETTE[0], lw=1.6, zorder=2, label="R(D)")
    axes.plot(*zip(*break_points, strict=True), "o", color=BREAK, ms=6, zorder=3, clip_on=False,
              label="a rectangle gets full")  # fmt: skip
    for letter, filling in zip(letters, fillings, strict=False):
        place = (filling.distortion, filling.rate_bits)
        axes.plot(*place, "o", color=PALETTE[0], mfc="white", ms=6, zorder=4, clip_on=False)
        axes.annotate(letter, place, xytext=(6, 4), textcoords="offset points", fontsize=FONTS["legend"])
    axes.set_title(f"{letters[-1]} rate-distortion function", fontsize=FONTS["label"])
    axes.set_xlabel("Distortion D (squared output)", fontsize=FONTS["label"])
    axes.set_ylabel("Rate R (bits per model)", fontsize=FONTS["label"])
    axes.set_xlim(0, None)
    axes.set_ylim(0, None)
    axes.legend(fontsize=FONTS["legend"], frameon=False, loc="upper right")
    _dress(axes)
    return figure


def _fill(
    axes: "Axes", importance: Sequence[float], variance: Sequence[float], levels: Sequence[float]
) -> None:
    """Rectangles side by side, with the water in them."""
    widths = np.asarray(importance, dtype=float)
    left = np.concatenate([[0.0], np.cumsum(widths + 0.12 * widths.mean())[:-1]])
    axes.bar(left, levels, widths, align="edge", color=WATER, lw=0, zorder=2)
    axes.bar(left, variance, widths, align="edge", fill=False, ec="#333333", lw=1.2, zorder=3)
    names = [f"$W_{{{i}}}$\nλ = {width:g}" for i, width in enumerate(importance, start=1)]
    axes.set_xticks(left + widths / 2, names, fontsize=FONTS["tick"])
    axes.tick_params(axis="y", labelsize=FONTS["tick"], length=3)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.08 * max(variance))
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def rate_comparison_figure(
    measured: Mapping[str, Sequence[RatePoint]], curve: Curve, power: float
) -> "Figure":
    """Bits per model of compressors over the distortion, and how far each is above the bound.

    In the second panel what is less than 0.1 bit above the bound, or below it, is not drawn.

    Args:
        measured: settings of each compressor by its name in the legend.
        curve: the bound R(D).
        power: E[f_W(X)^2], the distortion of sending nothing; distortions are drawn as shares of it.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is no compressor.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not any(measured.values()):
        raise ValueError("no compressor to draw")
    figure = Figure(figsize=(9.6, 4.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    rates, gaps = figure.subplots(1, 2)
    bound = [(d / power, bits) for d, bits in curve if bits > 0]
    rates.plot(*zip(*bound, strict=True), color="#222222", lw=1.4, label="bound R(D)", zorder=1)
    for index, (name, points) in enumerate(measured.items()):
        style = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)], "ms": 4.5}
        points = sorted(points)
        shown = [(each.distortion / power, each.rate_bits) for each in points if each.rate_bits > 0]
        rates.plot(*zip(*shown, strict=True), lw=0.9, label=name, zorder=2, **style)
        above = [
            (each.distortion / power, (each.rate_bits - each.bound_bits) / each.active_weights)
            for each in points
            if each.active_weights
        ]
        above = [point for point in above if point[1] >= LEAST_GAP]
        if above:  # a line of nothing breaks the layout
            gaps.plot(*zip(*above, strict=True), lw=0.9, zorder=2, **style)
    gaps.axhline(UNIFORM_GAP, color=UNIFORM, ls="--", lw=1, zorder=1)
    name = f"½ log₂(2πe/12) = {UNIFORM_GAP:.3f}"
    gaps.annotate(name, (1, UNIFORM_GAP), xycoords=("axes fraction", "data"), xytext=(-2, -4), ha="right",
                  va="top", textcoords="offset points", fontsize=8, color=UNIFORM)  # fmt: skip
    for axes, label in ((rates, "Rate (bits per model)"), (gaps, "Above the bound (bits per active weight)")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(bound[0][0] / 1.3, 1.3)
        axes.set_xlabel("Distortion, share of E[f(X)²]", fontsize=FONTS["label"])
        axes.set_ylabel(label, fontsize=FONTS["label"])
        _dress(axes)
    gaps.set_ylim(LEAST_GAP, None)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=FONTS["legend"])
    return figure


def _dress(axes: "Axes") -> None:
    axes.tick_params(labelsize=FONTS["tick"], length=3)
    axes.grid(True, color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
