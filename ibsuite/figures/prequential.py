"""The four panels of a prequential run, in bits: what each block cost, and what it added up to.

Panels as in Blier and Ollivier, "The Description Length of Deep Learning Models" (2018), Figures 2
and 3. matplotlib is imported when a figure is drawn, through its object interface only.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Blocks = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Blocks of one run: rows (one mapping per block), or columns (one array per key)."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5B4B8A")
"""Okabe and Ito's colours for all kinds of colour vision, without the yellow that vanishes on white."""
MARKERS = "osD^v"
UNIFORM = "#6E6E6E"
FONTS = {"label": 9.5, "tick": 8.5, "legend": 9}


def prequential_figure(curves: Mapping[str, Blocks]) -> "Figure":
    """Accuracy, bits per label, bits below uniform and compression ratio, over the labels sent.

    Args:
        curves: Blocks of each run by the name it has in the legend. Keys of a block: start, stop,
            accuracy, bits_per_label, cumulative_bits, uniform_bits (of the block), ratio and,
            where a plain prequential code is to be shown as a dashed line, final_epoch_bits.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it. What holds for a
        whole block is a step over the block, what holds at its end a marker there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("no run to draw")
    runs = {name: _columns(blocks) for name, blocks in curves.items()}
    figure = Figure(figsize=(6.0, 8.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(4, 1, sharex=True)
    kilo = max(_deepest(run) for run in runs.values()) >= 10_000
    _references(panels, list(runs.values()))
    for index, (name, run) in enumerate(runs.items()):
        _draw(panels, name, run, index, 1000.0 if kilo else 1.0)
    _dress(panels, list(runs.values()), "kbit" if kilo else "bit")
    figure.align_ylabels(list(panels))
    _legend(figure, panels[0])
    return figure


def _columns(blocks: Blocks) -> dict[str, np.ndarray]:
    """Blocks as float64 columns of equal length, plain prequential sums included."""
    if not isinstance(blocks, Mapping):
        keys = list(blocks[0]) if blocks else []
        blocks = {key: [row[key] for row in blocks] for key in keys}
    needed = ("start", "stop", "accuracy", "bits_per_label", "cumulative_bits", "uniform_bits", "ratio")
    missing = [key for key in needed if key not in blocks]
    if missing:
        raise ValueError(f"blocks without {missing[0]!r}")
    plain = ("final_epoch_bits",) if "final_epoch_bits" in blocks else ()
    if plain and np.allclose(np.cumsum(blocks["final_epoch_bits"]), blocks["cumulative_bits"], rtol=1e-9):
        plain = ()  # the run is itself plain prequential
    run = {key: np.asarray(blocks[key], dtype=np.float64) for key in (*needed, *plain)}
    run["labels"] = run["stop"] - run["start"]
    run["cumulative_uniform"] = np.cumsum(run["uniform_bits"])
    if plain:
        run["plain_per_label"] = run["final_epoch_bits"] / run["labels"]
        run["plain_cumulative"] = np.cumsum(run["final_epoch_bits"])
    return run


def _deepest(run: Mapping[str, np.ndarray]) -> float:
    """The largest distance from the uniform code in bits, which decides between bit and kbit."""
    return float(np.abs(run["cumulative_bits"] - run["cumulative_uniform"]).max())


def _left(run: Mapping[str, np.ndarray]) -> float:
    """Where the first block begins on a logarithmic axis, which has no place for 0."""
    return max(float(run["start"][0]), float(run["stop"][0]) / 2)


def _references(panels: "Sequence[Axes]", runs: Sequence[Mapping[str, np.ndarray]]) -> None:
    """What the uniform code has in each panel, once for every number of classes."""
    per_label = sorted({round(float(run["uniform_bits"][0] / run["labels"][0]), 6) for run in runs})
    levels = ([2.0**-bits for bits in per_label], per_label, [0.0], [1.0])
    for panel, heights in zip(panels, levels, strict=True):
        for height in heights:
            panel.axhline(height, color=UNIFORM, lw=1.1, ls=(0, (1, 1.4)), zorder=1, label="_uniform")


def _draw(
    panels: "Sequence[Axes]", name: str, run: Mapping[str, np.ndarray], index: int, scale: float
) -> None:
    """One run in the four panels."""
    colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE) % len(MARKERS)]
    thick: dict[str, Any] = {"color": colour, "lw": 1.8, "zorder": 3}
    thin: dict[str, Any] = {"color": colour, "lw": 1.0, "ls": (0, (4, 2)), "zorder": 2}
    points: dict[str, Any] = {"marker": marker, "ms": 4.2, "mec": "white", "mew": 0.6}
    accuracy, per_label, below, ratio = panels

    def steps(panel: "Axes", heights: np.ndarray, **style: Any) -> None:
        edges = np.concatenate(([_left(run)], run["stop"]))
        panel.plot(edges, np.append(heights, heights[-1]), drawstyle="steps-post", **style)

    steps(accuracy, run["accuracy"], label=name, **thick)
    steps(per_label, run["bits_per_label"], label=name, **thick)
    gain = (run["cumulative_bits"] - run["cumulative_uniform"]) / scale
    below.plot(run["stop"], gain, label=name, **thick, **points)
    ratio.plot(run["stop"], run["ratio"], label=name, **thick, **points)
    if "final_epoch_bits" in run:
        plain, uniform = run["plain_cumulative"], run["cumulative_uniform"]
        steps(per_label, run["plain_per_label"], label=f"{name}, plain", **thin)
        below.plot(run["stop"], (plain - uniform) / scale, label=f"{name}, plain", **thin)
        ratio.plot(run["stop"], plain / uniform, label=f"{name}, plain", **thin)


def _dress(panels: "Sequence[Axes]", runs: Sequence[Mapping[str, np.ndarray]], unit: str) -> None:
    """Axes, ticks and grids."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

    titles = (
        "Accuracy on the\nnext block",
        "Codelength of the\nblock (bit / label)",
        f"Cumulated codelength\nminus uniform ({unit})",
        "Compression ratio",
    )
    for panel, title in zip(panels, titles, strict=True):
        panel.set_ylabel(title, fontsize=FONTS["label"])
        panel.tick_params(labelsize=FONTS["tick"], length=3)
        panel.tick_params(which="minor", length=1.8)
        panel.grid(True, color="#E4E4E4", lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_ylim(0.0, 1.03)
    panels[2].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.6g}".replace("-", "−")))
    for panel in (panels[1], panels[3]):
        panel.set_ylim(0.0, 1.02 * panel.get_ylim()[1])
    bottom = panels[-1]
    bottom.set_xscale("log")
    left, right = min(_left(run) for run in runs), max(float(run["stop"][-1]) for run in runs)
    bottom.set_xlim(left, right * 1.06)
    bottom.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if right > 100 * left else (1.0, 2.0, 5.0)))
    bottom.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    bottom.xaxis.set_minor_formatter(NullFormatter())
    bottom.set_xlabel("Labels sent", fontsize=FONTS["label"])


def _legend(figure: "Figure", panel: "Axes") -> None:
    """One legend above all panels: the runs, then what dashes and dots mean."""
    from matplotlib.lines import Line2D

    handles = {str(line.get_label()): line for line in panel.get_lines()}
    uniform = handles.pop("_uniform")
    if any(str(line.get_label()).endswith(", plain") for line in figure.axes[1].get_lines()):
        colour = "#333333" if len(handles) > 1 else str(next(iter(handles.values())).get_color())
        dashes = Line2D([], [], color=colour, lw=1.0, ls=(0, (4, 2)))
        handles["plain prequential (last epoch)"] = dashes
    handles["uniform code"] = uniform
    room = 80  # characters across the figure, of which every entry's sample line takes eight
    columns = max(1, room // (max(map(len, handles)) + 8))
    if sum(map(len, handles)) + 8 * len(handles) <= room:
        columns = len(handles)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=FONTS["legend"],
        handlelength=2.2,
        columnspacing=1.4,
    )
