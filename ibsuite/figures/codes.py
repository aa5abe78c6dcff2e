"""Codes of the same labels side by side, in bits: what each one charges, as stacked bars.

matplotlib is imported when a figure is drawn, through its object interface only.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

COLOURS = {
    "labels": ("#0072B2", "labels"),
    "first_block": ("#8FC3E8", "first block"),
    "weights": ("#D55E00", "weights"),
    "kl": ("#E69F00", "weights (KL)"),
    "codebook": ("#CC79A7", "codebook"),
    "mask": ("#5B4B8A", "mask"),
    "buffers": ("#009E73", "buffers"),
    "prior": ("#8C6D46", "prior"),
    "framing": ("#B0B0B0", "framing"),
    "choices": ("#222222", "choices"),
}
OTHER = ("#F0A3C0", "other")
PUBLISHED = ("#E9E9E9", "published")
UNIFORM = "#6E6E6E"
ROOM = 1.15
"""How far beyond the uniform code the axis goes; longer bars are cut, their length stands in them."""
SHORT = 0.5
"""Where all codes with a model are shorter than this share of uniform, what lies beyond them is squeezed."""
SQUEEZED = 0.22
"""Share of the axis that the squeezed stretch has."""


class Bar(NamedTuple):
    """One code."""

    name: str
    """On one or two lines."""
    charges: Mapping[str, float]
    """Named parts of the total, bits; none where only the total was published."""
    total_bits: float
    spread_bits: float | None = None
    text: str | None = None
    """The length as it is to be written; by default from ``total_bits``."""


class Panel(NamedTuple):
    """The codes of one data set, from top to bottom."""

    title: str
    bars: Sequence[Bar]
    uniform_bits: float


def codes_figure(panels: Sequence[Panel]) -> "Figure":
    """One panel of stacked bars for each data set, with a line at the uniform code.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("no code to draw")
    heights = [len(panel.bars) + 2.0 for panel in panels]
    figure = Figure(figsize=(8.4, 0.8 + 0.36 * sum(heights)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for each, panel in zip(axes, panels, strict=True):
        _draw(each, panel)
    _legend(figure, panels)
    return figure


def _draw(axes: "Axes", panel: Panel) -> None:
    """One data set."""
    from matplotlib.ticker import FuncFormatter

    scale, unit = (1000.0, "kbit") if panel.uniform_bits >= 10_000 else (1.0, "bit")
    uniform, end = panel.uniform_bits / scale, ROOM * panel.uniform_bits / scale
    squeezed_from = _squeeze(axes, panel, scale, end)
    for height, bar in enumerate(panel.bars):
        left = 0.0
        for name, bits in _ordered(bar.charges).items():
            width = min(bits / scale, end - left)
            axes.barh(height, width, 0.72, left, color=COLOURS.get(name, OTHER)[0], ec="white", lw=0.4)
            left += width
        if not bar.charges:
            left = min(bar.total_bits / scale, end)
            axes.barh(height, left, 0.72, color=PUBLISHED[0], ec="#9A9A9A", lw=0.6, hatch="////")
        cut = bar.total_bits / scale > 1.001 * end
        if bar.spread_bits and not cut:
            axes.errorbar(left, height, xerr=bar.spread_bits / scale, color="black", lw=0.9, capsize=2)
        _write(axes, height, bar, (left, squeezed_from), scale, cut)
    axes.axvline(uniform, color=UNIFORM, lw=1.1, ls=(0, (1, 1.4)), zorder=0)
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.set_yticks(range(len(panel.bars)), [bar.name for bar in panel.bars], fontsize=8)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(f"Description length ({unit})", fontsize=9)
    axes.tick_params(axis="x", labelsize=8.5, length=3)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _squeeze(axes: "Axes", panel: Panel, scale: float, end: float) -> float:
    """Squeeze the axis beyond all short codes, where uniform is far from them; returns where that begins."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    below = [bar.total_bits for bar in panel.bars if bar.total_bits < 0.95 * panel.uniform_bits]
    begin, uniform = 1.2 * max(below, default=0.0) / scale, panel.uniform_bits / scale
    if not 0 < begin < SHORT * uniform:
        return end
    slope = SQUEEZED / (1 - SQUEEZED) * begin / (end - begin)

    def forward(x: "NDArray") -> "NDArray":
        return np.where(x <= begin, x, begin + slope * (x - begin))

    def backward(x: "NDArray") -> "NDArray":
        return np.where(x <= begin, x, begin + (x - begin) / slope)

    axes.set_xscale("function", functions=(forward, backward))
    ticks = [tick for tick in MaxNLocator(6).tick_values(0, begin) if 0 <= tick < 0.97 * begin]
    axes.xaxis.set_major_locator(FixedLocator([*ticks, round(uniform)]))
    axes.axvspan(begin, end, color="#F4F4F4", zorder=-1)
    axes.annotate("squeezed", (begin, 1), xytext=(3, 2), xycoords=("data", "axes fraction"),
                  textcoords="offset points", fontsize=7.5, color=UNIFORM)  # fmt: skip
    return begin


def _write(axes: "Axes", height: int, bar: Bar, ends: tuple[float, float], scale: float, cut: bool) -> None:
    """The length beside its bar, or inside one that goes beyond the unsqueezed axis."""
    (left, edge), value = ends, bar.total_bits / scale
    digits = 0 if value >= 1000 else 1 if scale == 1.0 else 2
    text = (bar.text or f"{value:,.{digits}f}") + (" ▸" if cut else "")
    inside = left > edge or cut
    style: dict[str, Any] = {"ha": "left", "xytext": (4, 0)}
    at = left + (bar.spread_bits or 0.0) / scale
    if inside:
        box = {"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
        at, style = left, {"ha": "right", "xytext": (-4, 0), "bbox": box}
    axes.annotate(text, (at, height), textcoords="offset points", va="center", fontsize=8, **style)


def _ordered(charges: Mapping[str, float]) -> dict[str, float]:
    """Charges in the order of the legend, others last."""
    known = [name for name in COLOURS if name in charges]
    return {name: charges[name] for name in [*known, *(name for name in charges if name not in COLOURS)]}


def _legend(figure: "Figure", panels: Sequence[Panel]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bars = [bar for panel in panels for bar in panel.bars]
    found = {name for bar in bars for name in bar.charges}
    handles: list[Line2D | Patch] = [
        Patch(color=colour, label=label) for name, (colour, label) in COLOURS.items() if name in found
    ]
    if found - set(COLOURS):
        handles.append(Patch(color=OTHER[0], label=OTHER[1]))
    if any(not bar.charges for bar in bars):
        handles.append(Patch(fc=PUBLISHED[0], ec="#9A9A9A", hatch="////", label=PUBLISHED[1]))
    handles.append(Line2D([], [], color=UNIFORM, lw=1.1, ls=(0, (1, 1.4)), label="uniform code"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)), frameon=False,
                  fontsize=8.5, handlelength=1.4, columnspacing=1.3)  # fmt: skip
