"""Codelengths of several runs along their trainings, in kbit: Figure 1 of the description-length paper."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ibsuite.figures.prequential import PALETTE, UNIFORM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
KBIT = 1000.0


def training_figure(curves: Mapping[str, Rows], uniform_bits: float) -> "Figure":
    """Bits of weights and labels, and the share of labels predicted, over the epochs of each run.

    Blier & Ollivier 2018, Figure 1: what a code of true labels and of drawn ones comes to while its
    model is trained, and how much of it is in the weights.

    Args:
        curves: rows of each run by its name in the legend. Keys of a row: epoch, label_bits, accuracy
            and, where the weights are priced as well, total_bits with kl_bits or model_bits.
        uniform_bits: length of the uniform code, drawn as a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.6 + 0.12 * len(curves)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    bits, share = figure.subplots(1, 2)
    for (name, rows), colour in zip(curves.items(), PALETTE, strict=False):
        epochs = [row["epoch"] for row in rows]
        whole = "total_bits" if rows[0].get("total_bits") is not None else "label_bits"
        said = name if whole == "total_bits" else f"{name}: labels alone"
        bits.plot(epochs, [row[whole] / KBIT for row in rows], color=colour, label=said)
        for key in ("kl_bits", "model_bits"):
            if rows[0].get(key) is not None:
                weights = [row[key] / KBIT for row in rows]
                bits.plot(epochs, weights, color=colour, linestyle=":", label=f"{name}: weights")
        share.plot(epochs, [row["accuracy"] for row in rows], color=colour, label=name)
    bits.axhline(uniform_bits / KBIT, color=UNIFORM, linestyle="--", linewidth=1, label="uniform")
    bits.set_ylabel("kbit")
    bits.set_ylim(bottom=0)
    share.set_ylabel("share of the labels predicted")
    share.set_ylim(0, 1.02)
    for axes in (bits, share):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *bits.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return figure
