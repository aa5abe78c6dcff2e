"""What became of the units of one compressed network, and what is left of its size and its time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ibsuite.figures.prequential import FONTS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
ACROSS = 6
"""Histograms side by side."""
FULL = "#E4E4E4"
REMOVED = "#C9C9C9"
TITLE: dict[str, Any] = {"fontsize": FONTS["label"], "loc": "left"}


def compression_figure(document: Mapping[str, Any], curve: Rows = ()) -> "Figure":
    """Units kept and rates along the training, sizes and times before and after, log alpha of each gate.

    The first two panels are drawn where the curve was watched, i.e. has rows with gates: units left in
    percent, and bits that flow through each gate for one input. Where the curve goes on without gates,
    the units had been removed and the small network was fine-tuned.

    Args:
        document: ``compression.json``.
        curve: rows of ``curve.csv``.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    gates = document["gates"]
    along = [row for row in curve if row.get("epoch") is not None]
    watched = [
        row for row in along if gates and all(row.get(_column(gate, "kept")) is not None for gate in gates)
    ]
    across = min(ACROSS, max(1, len(gates)))
    down = -(-len(gates) // across)
    figure = Figure(
        figsize=(12.4 if watched else 8.0, 4.4 + 1.75 * down), layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(_title(document), fontsize=10.5)
    colours = _colours(len(gates))
    above: Any = figure
    if gates:
        heights = (3.6, 0.3 + 1.75 * down)
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        cells = below.subplots(down, across, squeeze=False).flat
        for cell, gate, colour in zip(cells, gates, colours, strict=False):
            _histogram(cell, gate, colour)
            cell.set_xlim(*_occupied(gates))
        for cell in cells[len(gates) :]:
            cell.set_visible(False)
        below.supxlabel("log α = log σ²/μ² of a unit, nats; kept below 0, grey: removed", fontsize=9)
        below.supylabel("units", fontsize=9)
    panels = list(above.subplots(1, 3 if watched else 1, squeeze=False)[0])
    if watched:
        _kept(panels[0], gates, watched, colours)
        _rates(panels[1], gates, watched, colours)
        for panel in panels[:2]:
            _epochs(panel, [row["epoch"] for row in along], watched[-1]["epoch"])
    _left(panels[-1], document)
    return figure


def _title(document: Mapping[str, Any]) -> str:
    full, small = document["architecture"]["full"], document["architecture"]["small"]
    said = [f"{full} → {small}" if len(full + small) < 90 else f"{full}\n→ {small}"]
    errors = {name: document[f"{name}_error_percent"] for name in ("test", "validation")}
    for name, error in errors.items():
        if error is not None:
            text = f"{error['removed']:.2f} % → fine-tuned {error['finetuned']:.2f} %"
            said.append(f"{name} error, units removed {text}")
    return "\n".join([said[0], "; ".join(said[1:])] if said[1:] else said)


def _colours(gates: int) -> list[Any]:
    """From the house's palette; along a scale where there are more gates than it has colours."""
    if gates <= len(PALETTE):
        return list(PALETTE[:gates])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.9, gates)))


def _column(gate: Mapping[str, Any], what: str) -> str:
    return f"gates/{gate['name']}/{what}"


def _kept(axes: "Axes", gates: Rows, rows: Rows, colours: Sequence[Any]) -> None:
    epochs = [row["epoch"] for row in rows]
    for gate, colour in zip(gates, colours, strict=True):
        share = [100 * row[_column(gate, "kept")] / gate["units"] for row in rows]
        axes.plot(epochs, share, color=colour, lw=1.8, label=gate["name"])
    axes.set_ylim(0, 103)
    few = len(gates) <= len(PALETTE)
    axes.set_title("units kept, percent" + ("" if few else " (colours as below)"), **TITLE)
    if few:
        axes.legend(fontsize=8, frameon=False)


def _rates(axes: "Axes", gates: Rows, rows: Rows, colours: Sequence[Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    epochs = [row["epoch"] for row in rows]
    for gate, colour in zip(gates, colours, strict=True):
        bits = np.array([row[_column(gate, "rate_bits")] for row in rows], dtype=np.float64)
        axes.plot(epochs, np.where(bits > 0, bits, np.nan), color=colour, lw=1.8, label=gate["name"])
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.9g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("rate, bits for one input", **TITLE)


def _epochs(axes: "Axes", epochs: Sequence[float], removal: float) -> None:
    """The axis of epochs, and where on it the units were removed, if the curve goes on behind that."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(min(0, epochs[0]), epochs[-1] * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if epochs[-1] > removal:
        axes.axvspan(removal, epochs[-1] * 1.02, color="#F4F4F4", zorder=-1)
        axes.axvline(removal, color=UNIFORM, lw=1.1, ls=(0, (1, 1.4)))
        axes.annotate("units removed, fine-tuning", (removal, 1), xytext=(3, -4), va="top", rotation=90,
                      xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7.5,
                      color=UNIFORM)  # fmt: skip
    axes.set_xlabel("epoch", fontsize=FONTS["label"])
    axes.tick_params(labelsize=FONTS["tick"], length=3)
    axes.grid(True, color=FULL, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _left(axes: "Axes", document: Mapping[str, Any]) -> None:
    """Percent left of every size and time, and both of its numbers."""
    bars = [
        (name, document[key]["full"], document[key]["small"], "")
        for name, key in (
            ("weights", "weights"),
            ("activations", "activations"),
            ("multiply-accumulates", "macs"),
            ("bytes of the file", "file_bytes"),
        )
    ]
    times = document["latency_seconds"]
    for batch in times["full"]:
        full, small = 1000 * times["full"][batch], 1000 * times["small"][batch]
        bars.append((f"latency, batch {batch}", full, small, " ms"))
    percent = [100 * small / full for _, full, small, *_ in bars]
    places = range(len(bars))
    axes.barh(places, [100] * len(bars), 0.5, color=FULL)
    axes.barh(places, percent, 0.5, color=PALETTE[0])
    for place, share in zip(places, percent, strict=True):
        text = f"{share:.{2 if share < 10 else 1}f} %"
        axes.annotate(
            text, (share, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    names = [f"{name}\n{_written(small, full, unit)}" for name, full, small, unit in bars]
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.2 * max(100, *percent))
    axes.set_xticks(range(0, 101, 25))
    axes.tick_params(axis="x", labelsize=FONTS["tick"], length=3)
    axes.tick_params(axis="y", length=0)
    axes.set_title("what is left, percent of the full network", **TITLE)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _written(small: float, full: float, unit: str) -> str:
    """Both counts as they are, or both times with as many digits as the longer one needs."""
    digits = 0 if not unit else 3 if full < 10 else 1
    return f"{small:,.{digits}f} of {full:,.{digits}f}{unit}"


def _occupied(gates: Rows) -> tuple[float, float]:
    """From the lowest to the highest log alpha of any unit, 0 included, with a little room."""
    ends = [0.0]
    for gate in gates:
        edges, counts = np.asarray(gate["log_alpha"]["edges"]), np.asarray(gate["log_alpha"]["counts"])
        ends += [*edges[:-1][counts > 0], *edges[1:][counts > 0]]
    room = 0.03 * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room


def _histogram(axes: "Axes", gate: Mapping[str, Any], colour: Any) -> None:
    """Units by log alpha; those that were kept in colour."""
    from matplotlib.ticker import MaxNLocator

    edges, counts = np.asarray(gate["log_alpha"]["edges"]), np.asarray(gate["log_alpha"]["counts"])
    removed = (edges[:-1] + edges[1:]) / 2 >= 0
    faces = [REMOVED if gone else colour for gone in removed]
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=faces)
    axes.axvline(0, color="black", lw=1.0, ls=(0, (4, 2)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_title(f"{gate['name']}: {gate['kept']} of {gate['units']}", fontsize=8.5)
    axes.tick_params(labelsize=7.5, length=2.5)
    axes.spines[["top", "right"]].set_visible(False)
