"""Stochastic representations against the price of their rate: errors over beta, and the information plane."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from ibsuite.figures.prequential import FONTS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PlanePoint(NamedTuple):
    """One representation on one split."""

    beta: float
    """Weight of the rate against the distortion."""
    error_percent: float
    """Of the mean prediction over the draws."""
    error_one_draw_percent: float
    """Of predictions by one draw."""
    mi_zx_upper_bits: float
    """Upper bound on I(Z;X), bits."""
    mi_zy_lower_bits: float
    """Lower bound on I(Z;Y), bits."""


Curve = Sequence[Sequence[PlanePoint]]
"""The settings of one experiment on one split, each with its seeds."""
FIELDS = PlanePoint._fields
TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50)


def bottleneck_figure(experiments: Mapping[str, Mapping[str, Curve]]) -> "Figure":
    """Errors over beta, and lower bounds on I(Z;Y) over upper bounds on I(Z;X).

    Filled marks and solid lines: the last split of an experiment; open marks and broken lines: those
    before it. Lines join means over seeds. Left of the break on the axis is beta = 0.

    Source: Alemi et al. 2017 (Deep VIB), the figure of error and information against beta.

    Args:
        experiments: by its name in the legend, the curves of each experiment by their splits, such as
            ``train`` and ``test``.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    errors, plane = figure.subplots(1, 2)
    points = [
        p for curves in experiments.values() for curve in curves.values() for seeds in curve for p in seeds
    ]
    for (name, curves), colour in zip(experiments.items(), PALETTE, strict=False):
        *before, last = curves
        told = f"{name}: " if len(experiments) > 1 else ""
        for split in [*before, last]:
            means = _means(curves[split])
            style = _style(colour, split == last)
            _line(errors, means, "beta", "error_percent", f"{told}{split}, mean over draws", **style)
            if split == last:
                one = {**_style(colour, False), "ls": ":", "marker": "s", "ms": 4}
                _line(errors, means, "beta", "error_one_draw_percent", f"{told}{split}, one draw", **one)
            _line(plane, means, "mi_zx_upper_bits", "mi_zy_lower_bits", f"{told}{split}", **style)
            if split == last:
                _say_beta(plane, means)
    _beta_axis(errors, [p.beta for p in points])
    _error_axis(errors, [max(p.error_percent, p.error_one_draw_percent) for p in points])
    _plane_axes(plane, points)
    for axes in (errors, plane):
        axes.tick_params(which="both", labelsize=FONTS["tick"], length=3)
        axes.grid(True, color="#E4E4E4", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=FONTS["legend"], frameon=False)
    return figure


def _means(curve: Curve) -> list[PlanePoint]:
    """Means over the seeds of each setting, in the order of beta."""
    means = [PlanePoint(*(fmean(getattr(p, field) for p in seeds) for field in FIELDS)) for seeds in curve]
    return sorted(means)


def _style(colour: str, filled: bool) -> dict[str, Any]:
    style: dict[str, Any] = {"color": colour, "marker": "o", "ms": 5.5}
    if filled:
        return {**style, "lw": 1.6, "mec": "white", "mew": 0.6}
    return {**style, "lw": 1.0, "ls": (0, (4, 2)), "mfc": "white", "mew": 1.2}


def _line(axes: "Axes", means: Sequence[PlanePoint], x: str, y: str, name: str, **style: Any) -> None:
    axes.plot([getattr(p, x) for p in means], [getattr(p, y) for p in means], label=name, **style)


def _say_beta(axes: "Axes", means: Sequence[PlanePoint]) -> None:
    for number, p in enumerate(means):  # in turn below and far below, as neighbours may be close
        axes.annotate(f"{p.beta:g}", (p.mi_zx_upper_bits, p.mi_zy_lower_bits),
                      xytext=(3, -20 if number % 2 else -11), textcoords="offset points", fontsize=7.5,
                      color="#555555")  # fmt: skip


def _beta_axis(axes: "Axes", betas: Sequence[float]) -> None:
    """Logarithmic, and linear below the least beta that is not 0, so that 0 has a place."""
    axes.set_xlabel("β, weight of the rate", fontsize=FONTS["label"])
    positive = [beta for beta in betas if beta > 0]
    if positive and min(betas) == 0:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
    elif positive:
        axes.set_xscale("log")


def _error_axis(axes: "Axes", errors: Sequence[float]) -> None:
    """Linear up to 1 %, logarithmic beyond."""
    axes.set_ylabel("Error (%)", fontsize=FONTS["label"])
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(-0.03, 1.3 * max(1.0, *errors))
    axes.set_yticks([tick for tick in TICKS if tick <= 1.3 * max(1.0, *errors)])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def _plane_axes(axes: "Axes", points: Sequence[PlanePoint]) -> None:
    """The plane, with what is impossible shaded: I(Z;Y) > I(Z;X)."""
    import numpy as np

    rates = [p.mi_zx_upper_bits for p in points]
    bits = [p.mi_zy_lower_bits for p in points]
    axes.set_xlabel("I(Z;X), upper bound (bits)", fontsize=FONTS["label"])
    axes.set_ylabel("I(Z;Y), lower bound (bits)", fontsize=FONTS["label"])
    low, high = min(-0.05, min(bits)), 1.08 * max(0.1, *bits)
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(min(0, *rates) - 0.02, 1.3 * max(1.0, *rates))
    axes.set_ylim(low, high)
    x = np.linspace(0, high, 64)
    axes.fill_between(x, x, high, color="#F4F4F4", zorder=-1)
    axes.plot(x, x, color=UNIFORM, lw=1.0, ls=(0, (1, 1.4)), label="I(Z;Y) = I(Z;X)")
