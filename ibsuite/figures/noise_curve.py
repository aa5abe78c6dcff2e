"""Estimates of I(X; L + eps) against the variance of the noise, with what is known without a critic."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ibsuite.figures.prequential import FONTS, MARKERS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
NAMES = {
    "mine": "MINE",
    "aa_mine": "AA-MINE",
    "aa_mine_closeness": "AA-MINE, told the noise's size",
}
ROOM = 1.45
"""The axis of bits ends at so many times the ceiling; what lies above is drawn at its end."""


def noise_curve_figure(rows: Rows, curve: Rows) -> "Figure":
    """Held-out estimates of I(X; L + eps) over the noise variance, bits; lines join means over seeds.

    Bars run from the least to the greatest seed. Open marks are uncertified: above the ceiling, log2 of the
    number of pairs, an estimate says nothing. The grey band lies between bounds; the truth is in it.

    Source: Elad et al. 2019, Figure 1.

    Args:
        rows: readings with the keys noise_variance, estimator, seed, heldout_bits (None where there is none),
            ceiling_bits and certified.
        curve: for each noise_variance lower_bits and upper_bits, and exact_bits where it is known, else None.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is no estimate to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [row for row in rows if row["heldout_bits"] is not None]
    if not known:
        raise ValueError("no estimate to draw")
    ceiling = max(row["ceiling_bits"] for row in known)
    top = ROOM * ceiling
    figure = Figure(figsize=(7.4, 4.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xscale("log")
    _draw_known(axes, sorted(curve, key=lambda row: row["noise_variance"]), ceiling, top)
    for index, name in enumerate(dict.fromkeys(row["estimator"] for row in known)):
        _draw_estimates(axes, [row for row in known if row["estimator"] == name], index, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("Variance of the noise ε", fontsize=FONTS["label"])
    axes.set_ylabel("I(X; L+ε), bits", fontsize=FONTS["label"])
    axes.tick_params(labelsize=FONTS["tick"], length=3)
    axes.grid(True, color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    mark: dict[str, Any] = {"color": "#333333", "marker": "o", "ls": "", "mfc": "white", "ms": 5}
    axes.plot([], [], **mark, label="uncertified, or above the axis")
    axes.legend(fontsize=FONTS["legend"], frameon=False, loc="upper right")
    return figure


def _draw_known(axes: "Axes", curve: Rows, ceiling: float, top: float) -> None:
    """The band, the exact curve, and the ceiling."""
    x = [row["noise_variance"] for row in curve]
    low, high = ([max(0.0, row[key]) for row in curve] for key in ("lower_bits", "upper_bits"))
    axes.fill_between(x, low, [min(each, 2 * top) for each in high], color="#E3E3E3", lw=0, zorder=0,
                      label="between bounds without a critic")  # fmt: skip
    exact = [(row["noise_variance"], row["exact_bits"]) for row in curve if row["exact_bits"] is not None]
    if exact:
        axes.plot(*zip(*exact, strict=True), color="#222222", lw=1.2, label="truth (equation 5)", zorder=1)
    axes.axhline(ceiling, color=UNIFORM, ls=(0, (1, 1.6)), lw=1.2, zorder=1)
    axes.annotate(f"log₂ of the pairs: {ceiling:.1f} bits", (max(x), ceiling), xytext=(0, -4), fontsize=8,
                  textcoords="offset points", color=UNIFORM, ha="right", va="top")  # fmt: skip


def _draw_estimates(axes: "Axes", rows: Rows, index: int, top: float) -> None:
    """One estimator: means over seeds, the range of the seeds, and which of them are uncertified."""
    groups: dict[float, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["noise_variance"], []).append(row)
    style: dict[str, Any] = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}
    # Side by side: bars of three estimators on one line would hide each other.
    x = [variance * 1.07 ** (index - 1) for variance in sorted(groups)]
    bits = [[min(max(row["heldout_bits"], 0.0), top) for row in groups[v]] for v in sorted(groups)]
    means = [fmean(each) for each in bits]
    name = rows[0]["estimator"]
    axes.plot(x, means, lw=1.4, ms=5, label=NAMES.get(name, name), clip_on=False, zorder=3, **style)
    for place, each in zip(x, bits, strict=True):
        axes.plot([place, place], [min(each), max(each)], color=style["color"], lw=1.0, zorder=2)
    shown = [
        (place, mean)
        for place, mean, variance in zip(x, means, sorted(groups), strict=True)
        if mean >= top or not all(row["certified"] for row in groups[variance])
    ]
    if shown:  # a line of nothing that is not clipped breaks the layout
        axes.plot(*zip(*shown, strict=True), ls="", ms=5, mfc="white", clip_on=False, zorder=4, **style)
