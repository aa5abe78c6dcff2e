"""Compressed networks against what they cost: error over size and computation, size over information."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from ibsuite.figures.prequential import FONTS, MARKERS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 4
"""Where the largest network is so many times the smallest, the axis is logarithmic."""


class Compressed(NamedTuple):
    """One network from which units have been removed."""

    r_w_percent: float
    """Surviving weights, percent."""
    macs: float
    """Multiply-accumulates for one input."""
    test_error_percent: float | None = None
    """After fine-tuning, on the test split."""
    validation_error_percent: float | None = None
    """After fine-tuning, on labels held out of the training."""
    mi_upper_bits: float | None = None
    """Upper bound on the mutual information of the input and the first hidden layer, bits."""


Settings = Sequence[Sequence[Compressed]]
"""The settings of one experiment, each with its seeds."""
MI = "I(input; first hidden layer),\nupper bound, bits (spike-and-slab marginal)"


def tradeoff_figure(
    experiments: Mapping[str, Settings], printed: Mapping[str, Compressed] | None = None
) -> "Figure":
    """Error against surviving weights and against computation; weights against mutual information.

    A line joins the means over seeds of an experiment's settings. The third panel is drawn where the
    mutual information is known: Figure 2 of Dai et al. 2018 (poster).

    Args:
        experiments: the settings of each experiment by its name in the legend.
        printed: published networks by their name in the legend.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is no network.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    networks = [each for settings in experiments.values() for seeds in settings for each in seeds]
    if not networks:
        raise ValueError("no compressed network to draw")
    informed = any(each.mi_upper_bits is not None for each in networks)
    columns = 3 if informed else 2
    figure = Figure(figsize=(4.3 * columns, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, columns)
    for index, (name, settings) in enumerate(experiments.items()):
        style = (PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE) % len(MARKERS)])
        for field, panel in zip(("r_w_percent", "macs"), panels, strict=False):
            _draw(panel, settings, field, "validation_error_percent", style, name)
            _draw(panel, settings, field, "test_error_percent", style, name)
        if informed:
            _draw(panels[2], settings, "mi_upper_bits", "r_w_percent", style, name)
    for (name, network), marker in zip((printed or {}).items(), "X*P", strict=False):
        for panel, x in zip(panels, (network.r_w_percent, network.macs), strict=False):
            panel.plot(
                x, network.test_error_percent, marker, color=UNIFORM, ms=8, mec="white", zorder=4, label=name
            )
    _dress(panels, networks)
    _legend(figure, panels[0], networks)
    return figure


def _draw(axes: "Axes", settings: Settings, x: str, y: str, style: tuple[str, str], name: str) -> None:
    """Every network that has both numbers, and a line through the means of the settings."""
    is_open = y == "validation_error_percent"
    colour, marker = style
    points = [[(getattr(each, x), getattr(each, y)) for each in seeds] for seeds in settings]
    points = [[point for point in seeds if None not in point] for seeds in points]
    means = sorted((fmean(x for x, _ in seeds), fmean(y for _, y in seeds)) for seeds in points if seeds)
    line: dict[str, Any] = {"lw": 1.0, "ls": (0, (4, 2))} if is_open else {"lw": 1.5}
    marks: dict[str, Any] = {"mec": "white", "mew": 0.6}
    if is_open:
        marks = {"mec": colour, "mfc": "white", "mew": 1.2}
    axes.plot([x for x, _ in means], [y for _, y in means], color=colour, zorder=2, **line)
    every = [point for seeds in points for point in seeds]
    axes.plot([x for x, _ in every], [y for _, y in every], marker, color=colour, ms=5.5, zorder=3, **marks,
              label="_open" if is_open else name)  # fmt: skip


def _dress(panels: "Sequence[Axes]", networks: Sequence[Compressed]) -> None:
    """Axes, ticks and grids."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    errors = "Error of the small network, fine-tuned (%)"
    titles = [("Surviving weights $r_W$ (%)", errors), ("Multiply-accumulates for one input", errors)]
    titles.append((MI, "Surviving weights $r_W$ (%)"))
    for panel, (x, y) in zip(panels, titles, strict=False):
        panel.set_xlabel(x, fontsize=FONTS["label"])
        panel.set_ylabel(y, fontsize=FONTS["label"])
        panel.tick_params(which="both", labelsize=FONTS["tick"], length=3)
        panel.grid(True, color="#E4E4E4", lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    for panel, field in zip(panels, ("r_w_percent", "macs"), strict=False):
        values = [getattr(each, field) for each in networks]
        if max(values) > WIDE * min(values):
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(x: float, _: int) -> str:
    """A tick as it is read: 0.5, 20, 50k, 1.5M."""
    for scale, unit in ((1e6, "M"), (1e3, "k")):
        if x >= scale:
            return f"{x / scale:g}{unit}"
    return f"{x:g}"


def _legend(figure: "Figure", panel: "Axes", networks: Sequence[Compressed]) -> None:
    """One legend above all panels: the experiments, what was published, and what open marks mean."""
    from matplotlib.lines import Line2D

    handles: list[Any] = [line for line in panel.get_lines() if not str(line.get_label()).startswith("_")]
    if any(each.validation_error_percent is not None for each in networks):
        style: dict[str, Any] = {"marker": "o", "ms": 5.5, "color": "#333333", "lw": 1.5}
        if any(each.test_error_percent is not None for each in networks):
            handles.append(Line2D([], [], **style, mec="white", label="error on the test split"))
        open_: dict[str, Any] = {**style, "mfc": "white", "mew": 1.2, "lw": 1.0, "ls": (0, (4, 2))}
        handles.append(Line2D([], [], **open_, label="error on held-out labels"))
    columns = max(1, min(len(handles), 100 // (8 + max(len(str(each.get_label())) for each in handles))))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False,
                  fontsize=FONTS["legend"])  # fmt: skip
