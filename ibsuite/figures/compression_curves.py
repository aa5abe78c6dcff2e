"""What networks keep of their predictions when they are pruned or quantised: one line per objective.

Panels as in Gao et al. 2019, Figures 2 to 5 and 7 to 10 (accuracy and cross entropy over compression), and
11, 12 (over temperature and damping); the two distortions of their remark in section 6.2 stand below.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

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

OVER = {"temperature": "temperature $T$", "mu": r"damping $\mu$"}


def compression_curves_figure(
    methods: Mapping[str, Mapping[str, Sequence[Rows]]], split: str = "test"
) -> "Figure":
    """Accuracy, cross entropy, d and d~ of compressed networks over their sizes.

    A line joins the means over seeds; a band of its colour reaches from the least to the greatest. Where
    there are many classes, top-5 accuracy is drawn dashed beside the accuracy.

    Args:
        methods: by method (``prune``, ``quantise``, ...) and objective, the rows of every seed.
        split: whose readings are drawn: ``test``, ``validation`` or ``train``.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is no curve.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not methods:
        raise ValueError("no curve to draw")
    figure, panels = _panels(len(READINGS), len(methods))
    objectives = list(dict.fromkeys(name for curves in methods.values() for name in curves))
    for column, (method, curves) in enumerate(methods.items()):
        key, factor, label = AXES[method]
        for row, (name, title) in enumerate(READINGS.items()):
            axes = panels[row][column]
            for objective, seeds in curves.items():
                style = _style(objectives.index(objective))
                _line(axes, seeds, key, f"{split}_{name}", factor, objective, style)
                if name == "accuracy" and f"{split}_top5_accuracy" in seeds[0][0]:
                    dashed = {**style, "ls": (0, (3, 2)), "marker": ""}
                    _line(axes, seeds, key, f"{split}_top5_accuracy", factor, "_top 5", dashed)
            _dress(axes, title if column == 0 else "", label if row == len(READINGS) - 1 else "")
            if name != "accuracy":
                axes.set_yscale("symlog" if name == "excess_bits" else "log", **_linear(name))
            if row == 0:
                axes.set_title(method.replace("_", " "), fontsize=FONTS["label"])
            if key in ("kept", "model_bits"):
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
    _legend(figure, panels[0][0])
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
                axes.set_xscale("symlog", linthresh=0.01)
            if name == "nll_bits":
                axes.set_yscale("log")
            else:
                axes.set_title(objective, fontsize=FONTS["label"])
    _legend(figure, panels[0][0])
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
    if len(seeds) > 1:
        low, high = [min(values) for _, values in points], [max(values) for _, values in points]
        axes.fill_between(at, low, high, color=style["color"], alpha=0.15, lw=0)


def _linear(name: str) -> dict[str, Any]:
    """Where small differences are drawn to scale."""
    return {"linthresh": 1e-3} if name == "excess_bits" else {}


def _dress(axes: "Axes", y: str, x: str) -> None:
    axes.set_ylabel(y, fontsize=FONTS["label"])
    axes.set_xlabel(x, fontsize=FONTS["label"])
    axes.tick_params(which="both", labelsize=FONTS["tick"], length=3)
    axes.grid(True, color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), frameon=False,
                  fontsize=FONTS["legend"])  # fmt: skip
