"""What networks keep of their predictions when they are pruned or quantised: one line per objective.

Panels as in Gao et al. 2019, Figures 2 to 5 and 7 to 10 (accuracy and cross entropy over compression), and
11, 12 (over temperature and damping); the two distortions of their remark in section 6.2 stand below.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from ibsuite.figures.prequential import FONTS, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
"""Points of one curve: rows of ``curve.csv`` or ``tuning.csv``."""
READINGS = {
    "accuracy": "accuracy, %",
    "nll_bits": "cross entropy,\nbits a label",
    "loss_distortion": "$d$, bits$^2$",
    "excess_bits": r"$\tilde{d}$, bits a label",
}
"""What is drawn, from the top: names of the readings, and what stands beside their axes."""
AXES = {
    "prune": ("kept", 100.0, "weights that are left, %"),
    "quantise": ("clusters", 1.0, "values of each codebook"),
    "prune_quantise": ("model_bits", 1e-3, "network, kbit"),
    "entropy_constrained": ("model_bits", 1e-3, "network, kbit"),
}
"""What each method's curve is drawn over: the key of a row, a factor, and what stands below the axis."""

TOP_FIVE = "top 5, dashed"
OVER = {"temperature": "temperature $T$", "mu": r"damping $\mu$"}


def compression_curves_figure(
    methods: Mapping[str, Mapping[str, Sequence[Rows]]], split: str = "test"
) -> "Figure":
    """Accuracy, cross entropy, d and d~ of compressed networks over their sizes.

    A line joins the means over seeds; a band of its colour reaches from the least to the greatest. Weights
    that were pruned and quantised are points, as many settings have one size. Where there are many classes,
    top-5 accuracy is drawn dashed beside the accuracy.

    Args:
        methods: by method (``prune``, ``quantise``, ...) and objective, the rows of every seed.
        split: whose readings are drawn: ``test``, ``validation`` or ``train``.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is no curve.
    """
    if not methods:
        raise ValueError("no curve to draw")
    figure, panels = _panels(len(READINGS), len(methods))
    objectives = list(dict.fromkeys(name for curves in methods.values() for name in curves))
    for column, (method, curves) in enumerate(methods.items()):
        key, factor, label = AXES[method]
        several = method == "prune_quantise"  # settings of equal size lie anywhere: a line would be no curve
        for row, (name, title) in enumerate(READINGS.items()):
            axes = panels[row][column]
            for objective, seeds in curves.items():
                style = {**_style(objectives.index(objective)), **({"ls": ""} if several else {})}
                _line(axes, seeds, key, f"{split}_{name}", factor, objective.replace("_", " "), style)
                if name == "accuracy" and f"{split}_top5_accuracy" in seeds[0][0]:
                    dashed = {**style, "ls": (0, (3, 2)), "marker": ""}
                    _line(axes, seeds, key, f"{split}_top5_accuracy", factor, f"_{TOP_FIVE}", dashed)
            _dress(axes, title if column == 0 else "", label if row == len(READINGS) - 1 else "")
            if name != "accuracy":
                _logarithmic(axes, "y", 1e-3 if name == "excess_bits" else None)
            if row == 0:
                axes.set_title(f"{method.replace('_', ' ')}, {split}", fontsize=FONTS["label"])
            if key in ("kept", "model_bits"):
                _logarithmic(axes, "x")
    _legend(figure)
    return figure


def tuning_figure(objectives: Mapping[str, Sequence[Rows]], split: str = "validation") -> "Figure":
    """Accuracy and cross entropy on held-out labels over temperature, and over damping: Figures 11 and 12.

    A line for each setting of a curve; each other choice being the best for it.

    Args:
        objectives: the rows of ``tuning.csv`` of every seed.
        split: whose readings are drawn.

    Raises:
        ValueError: nothing was tuned.
    """
    if not objectives:
        raise ValueError("nothing was tuned: give several --temperatures or --mus")
    found = [
        (name, over)
        for name, seeds in objectives.items()
        for over in ("temperature", "mu")
        if len({row[over] for row in seeds[0]}) > 1
    ]
    figure, panels = _panels(2, len(found))
    for column, (objective, over) in enumerate(found):
        seeds = objectives[objective]
        keys = [key for key in ("kept", "clusters", "step") if key in seeds[0][0]]
        points = list(dict.fromkeys(tuple(row[key] for key in keys) for row in seeds[0]))
        for row, name in enumerate(("accuracy", "nll_bits")):
            axes = panels[row][column]
            for index, point in enumerate(points):
                best = [_best(rows, keys, point, over, f"{split}_nll_bits") for rows in seeds]
                said = ", ".join(f"{key} {value:g}" for key, value in zip(keys, point, strict=True))
                _line(axes, best, over, f"{split}_{name}", 1.0, said, _style(index))
            _dress(axes, READINGS[name] if column == 0 else "", OVER[over] if row else "")
            if over == "mu":
                _logarithmic(axes, "x", min((row["mu"] for row in seeds[0] if row["mu"]), default=1.0))
            if name == "nll_bits":
                _logarithmic(axes, "y")
            else:
                axes.set_title(f"{objective.replace('_', ' ')}, {split}", fontsize=FONTS["label"])
    _legend(figure)
    return figure


def _best(rows: Rows, keys: Sequence[str], point: tuple, over: str, reading: str) -> Rows:
    """Of the rows of a setting, the best for every value of ``over``."""
    least: dict[float, Mapping[str, Any]] = {}
    for row in rows:
        if tuple(row[key] for key in keys) != point:
            continue
        if row[over] not in least or row[reading] < least[row[over]][reading]:
            least[row[over]] = row
    return list(least.values())


def _panels(rows: int, columns: int) -> tuple["Figure", Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (max(1.2 + 3.6 * columns, 6.0), 0.9 + 2.3 * rows)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, sharex="col", squeeze=False)


def _style(index: int) -> dict[str, Any]:
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "ms": 3.5,
        "lw": 1.4,
    }


def _line(
    axes: "Axes", seeds: Sequence[Rows], x: str, y: str, factor: float, label: str, style: dict[str, Any]
) -> None:
    """Means over seeds, and a band from the least to the greatest."""
    scale = 100.0 if y.endswith("accuracy") else 1.0
    columns = list(zip(*seeds, strict=True))  # every setting, its seeds
    points = sorted(
        (fmean(row[x] * factor for row in rows), [row[y] * scale for row in rows]) for rows in columns
    )
    at = [place for place, _ in points]
    axes.plot(at, [fmean(values) for _, values in points], label=label, **style)
    if len(seeds) > 1 and style.get("ls") != "":
        low, high = [min(values) for _, values in points], [max(values) for _, values in points]
        axes.fill_between(at, low, high, color=style["color"], alpha=0.15, lw=0)


def _logarithmic(axes: "Axes", which: Literal["x", "y"], linear: float | None = None) -> None:
    """Plain numbers at 1, 2 and 5 of every decade, or at decades alone; up to ``linear`` drawn to scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis, scale = (axes.xaxis, axes.set_xscale) if which == "x" else (axes.yaxis, axes.set_yscale)
    if linear is not None:
        scale("symlog", linthresh=linear)
        return
    low, high = axis.get_data_interval()
    if not high > 0:  # no distortion at all
        return
    scale("log")
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if low > 0 and high < 50 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _dress(axes: "Axes", y: str, x: str) -> None:
    axes.set_ylabel(y, fontsize=FONTS["label"])
    axes.set_xlabel(x, fontsize=FONTS["label"])
    axes.tick_params(which="both", labelsize=FONTS["tick"], length=3)
    axes.grid(True, color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure") -> None:
    """Every line of any panel once, and what dashes mean."""
    from matplotlib.lines import Line2D

    lines = [line for axes in figure.axes for line in axes.get_lines()]
    handles = {str(line.get_label()): line for line in reversed(lines)}
    dashed = handles.pop(f"_{TOP_FIVE}", None)
    handles = {label: handles[label] for label in dict.fromkeys(str(line.get_label()) for line in lines)
               if label in handles}  # fmt: skip
    if dashed is not None:
        handles[TOP_FIVE] = Line2D([], [], color="#6E6E6E", ls=(0, (3, 2)), lw=1.4, label=TOP_FIVE)
    figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=min(len(handles), 4),
                  frameon=False, fontsize=FONTS["legend"])  # fmt: skip
