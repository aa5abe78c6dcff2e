"""What every layer knows of the inputs and of the labels along a training, bits; and how a layer looks."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ibsuite.figures.prequential import FONTS, PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
KINDS = ("lower", "upper", "", "uncertified")
SAID = {"lower": "lower bound", "upper": "upper bound", "": "estimate", "uncertified": "uncertified"}


def information_plane_figure(runs: Mapping[str, Rows]) -> "Figure":
    """Of each run two panels: its layers in the information plane, and what they know over the steps.

    A layer's path begins at an open mark and ends at a filled one. Where there are both, the lower bounds are
    drawn; those on I(X; L) end at log2 of the inputs, the broken line. No layer can lie above the diagonal:
    it knows no more of the labels than of the inputs.

    Source: Shwartz-Ziv & Tishby 2017, the information plane.

    Args:
        runs: rows of ``information.csv`` by the name that a run has in the titles.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 0.5 + 3.5 * len(runs)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(runs), 2, squeeze=False)
    for (plane, over_steps), (name, rows) in zip(panels, runs.items(), strict=True):
        x, y = (plane_column(rows, quantity) for quantity in ("mi_xl", "mi_yl"))
        layers = list(dict.fromkeys(row["layer"] for row in rows))
        for index, layer in enumerate(layers):
            own = [r for r in rows if r["layer"] == layer and None not in (r.get(x), r.get(y))]
            if own:
                colour = PALETTE[index % len(PALETTE)]
                _path(plane, own, x, y, colour, f"{layer} ({own[-1]['width']:.0f})")
                steps = [r["step"] for r in own]
                over_steps.plot(steps, [r[x] for r in own], color=colour, lw=1.5)
                over_steps.plot(steps, [r[y] for r in own], color=colour, lw=1.5, ls=(0, (4, 2)))
        _finish(plane, over_steps, rows, x, y, name if len(runs) > 1 else "")
    for axes in panels.flat:
        axes.tick_params(labelsize=FONTS["tick"], length=3)
        axes.grid(True, color="#E4E4E4", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def embedding_figure(layer: str, runs: Mapping[str, Mapping[str, Any]], seed: int = 0) -> "Figure":
    """The same layer of several runs by t-SNE, coloured by class, side by side.

    Source: Elad et al. 2019, Figure 3; van der Maaten & Hinton 2008 (t-SNE).

    Args:
        layer: what the layer is called, above the panels.
        runs: of each run, by the title of its panel, ``points`` (n, width) and ``labels`` (n,).
        seed: of t-SNE.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.

    Raises:
        ValueError: a run has fewer than five points.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from sklearn.manifold import TSNE

    if min(len(each["labels"]) for each in runs.values()) < 5:
        raise ValueError("t-SNE needs at least five inputs: run it with a larger InformationPlane.embedding")
    figure = Figure(figsize=(0.4 + 4.2 * len(runs), 4.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    classes = sorted({int(label) for each in runs.values() for label in each["labels"]})
    map_ = colormaps["tab10" if len(classes) <= 10 else "turbo"]
    places = np.arange(len(classes)) if len(classes) <= 10 else np.linspace(0, 1, len(classes))
    colours = {label: map_(place) for label, place in zip(classes, places, strict=True)}
    for axes, (title, each) in zip(
        figure.subplots(1, len(runs), squeeze=False).flat, runs.items(), strict=True
    ):
        points = np.asarray(each["points"], dtype=np.float64)
        perplexity = min(30.0, (len(points) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        placed = tsne.fit_transform(points)
        shades = [colours[int(label)] for label in each["labels"]]
        axes.scatter(placed[:, 0], placed[:, 1], s=9, c=shades, lw=0, alpha=0.85)
        axes.set_title(title, fontsize=FONTS["label"])
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
    figure.supxlabel(f"t-SNE of the layer {layer}", fontsize=FONTS["label"])
    if len(classes) <= 10:
        marks = [Line2D([], [], color=colour, marker="o", ls="", ms=4, label=str(label))
                 for label, colour in colours.items()]  # fmt: skip
        figure.legend(handles=marks, loc="outside upper center", ncols=10, frameon=False, fontsize=8,
                      handletextpad=0.1, columnspacing=1.0)  # fmt: skip
    return figure


def plane_column(rows: Rows, quantity: str) -> str:
    """The column that a quantity is drawn from: the first kind that some row has."""
    names = [f"{quantity}_{kind}_bits" if kind else f"{quantity}_bits" for kind in KINDS]
    return next((name for name in names if any(row.get(name) is not None for row in rows)), names[0])


def _path(axes: "Axes", rows: Rows, x: str, y: str, colour: str, name: str) -> None:
    """One layer in the plane."""
    xs, ys = [row[x] for row in rows], [row[y] for row in rows]
    axes.plot(xs, ys, color=colour, lw=1.1, marker="o", ms=2.2, zorder=2)
    axes.plot(xs[:1], ys[:1], color=colour, marker="o", ms=6, mfc="white", ls="", zorder=3)
    axes.plot(xs[-1:], ys[-1:], color=colour, marker="o", ms=6, mec="white", mew=0.6, ls="", zorder=4,
              label=name)  # fmt: skip


def _finish(plane: "Axes", over_steps: "Axes", rows: Rows, x: str, y: str, title: str) -> None:
    """Axes, the diagonal and legends of one run."""
    from matplotlib.lines import Line2D

    said = [
        f"{name}, {SAID[column[6:-5].strip('_')]} (bits)"
        for name, column in (("I(X; L+ε)", x), ("I(Y; L+ε)", y))
    ]
    plane.set_xlabel(said[0], fontsize=FONTS["label"])
    plane.set_ylabel(said[1], fontsize=FONTS["label"])
    right, upper = plane.get_xlim()[1], plane.get_ylim()[1]
    plane.plot([0, upper], [0, upper], color=UNIFORM, lw=1.0, ls=(0, (1, 1.4)), zorder=1)
    plane.set_xlim(min(0, plane.get_xlim()[0]), right)
    plane.set_ylim(min(0, plane.get_ylim()[0]), upper)
    last = rows[-1]
    if x == "mi_xl_lower_bits":
        plane.axvline(math.log2(last["samples"]), color=UNIFORM, lw=1.0, ls=(0, (4, 3)), zorder=1)
    about = f"{last['samples']:.0f} inputs, variance of ε {last['noise_variance']:g}"
    plane.set_title(f"{title}: {about}" if title else about, fontsize=FONTS["label"], loc="left")
    plane.legend(fontsize=FONTS["legend"], frameon=False, loc="lower right", title="layer (width)",
                 title_fontsize=FONTS["legend"])  # fmt: skip
    over_steps.set_xlabel("Steps", fontsize=FONTS["label"])
    over_steps.set_ylabel("bits", fontsize=FONTS["label"])
    over_steps.set_ylim(bottom=min(0, over_steps.get_ylim()[0]))
    lines = [Line2D([], [], color="#333333", label="I(X; L+ε)"),
             Line2D([], [], color="#333333", ls=(0, (4, 2)), label="I(Y; L+ε)")]  # fmt: skip
    over_steps.legend(handles=lines, fontsize=FONTS["legend"], frameon=False, loc="best")
