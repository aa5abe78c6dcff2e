"""Estimates of mutual information against the truth: a panel for each transform and dimension."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ibsuite.figures.prequential import FONTS, MARKERS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
ROOM = 1.4
"""The axis of estimates ends at so many times the largest truth; what lies above is drawn at its end."""


def calibration_figure(rows: Rows) -> "Figure":
    """Held-out estimate over true mutual information, bits; the dashed line is where they agree.

    Lines join means over seeds. Open marks are uncertified: the number of pairs cannot support them.

    Args:
        rows: readings with the keys transform, dimensions, estimator, mi_bits, heldout_bits (None where there
            is none) and certified.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: there is no reading.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("no estimate to draw")
    transforms, dimensions, names = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("transform", "dimensions", "estimator")
    )
    top = ROOM * max(row["mi_bits"] for row in rows)
    size = (3.4 + 2.6 * len(dimensions), max(1 + 2.2 * len(transforms), 1 + 0.19 * len(names)))
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(transforms), len(dimensions), sharex=True, sharey=True, squeeze=False)
    for i, transform in enumerate(transforms):
        for j, d in enumerate(dimensions):
            here = [row for row in rows if (row["transform"], row["dimensions"]) == (transform, d)]
            _draw(panels[i, j], here, names, top)
            panels[i, j].set_title(f"d = {d}, {transform}", fontsize=FONTS["label"])
    for panel in panels[-1]:
        panel.set_xlabel("True information (bits)", fontsize=FONTS["label"])
    for panel in panels[:, 0]:
        panel.set_ylabel("Estimate, held out (bits)", fontsize=FONTS["label"])
    _legend(figure, names)
    return figure


def _style(index: int) -> dict[str, Any]:
    marker = MARKERS[index // len(PALETTE) % len(MARKERS)]
    return {"color": PALETTE[index % len(PALETTE)], "marker": marker, "ms": 4.5, "lw": 1.1}


def _draw(axes: "Axes", rows: Rows, names: Sequence[str], top: float) -> None:
    axes.plot([0, top], [0, top], color=UNIFORM, ls="--", lw=1, zorder=1)
    for index, name in enumerate(names):
        groups: dict[float, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["estimator"] == name and row["heldout_bits"] is not None:
                groups.setdefault(row["mi_bits"], []).append(row)
        points = sorted((truth, fmean(row["heldout_bits"] for row in each)) for truth, each in groups.items())
        shown = [(truth, min(max(value, 0.0), top)) for truth, value in points]
        doubtful = [point for point in shown if not all(row["certified"] for row in groups[point[0]])]
        open_ = {"ls": "", "mfc": "white", "zorder": 3}
        for marks, style in ((shown, {"zorder": 2}), (doubtful, open_)):
            if marks:  # a line of nothing that is not clipped breaks the layout
                axes.plot(*zip(*marks, strict=True), clip_on=False, **_style(index) | style)
    axes.set_xlim(0, top / ROOM * 1.05)
    axes.set_ylim(0, top)
    axes.tick_params(labelsize=FONTS["tick"], length=3)
    axes.grid(True, color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], **_style(index), label=name.replace("_", " ")) for index, name in enumerate(names)
    ]
    handles.append(Line2D([], [], color=UNIFORM, ls="--", lw=1, label="truth"))
    mark: dict[str, Any] = {"color": "#333333", "marker": "o", "ls": "", "mfc": "white", "ms": 4.5}
    handles.append(Line2D([], [], **mark, label="uncertified"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=FONTS["legend"])
