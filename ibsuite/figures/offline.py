"""What one description is made of, and what it was chosen from or how it grew, in bits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KBIT = 1000.0


def offline_figure(
    charges: Mapping[str, float], curve: Sequence[Mapping[str, Any]], uniform_bits: float
) -> "Figure":
    """Two panels, kbit: the charges of a description, and the curve behind it.

    The curve is the codelength along the training where its rows have an ``epoch``, with what of it
    is in the weights; otherwise the total of every setting tried against the bits of its model.

    Args:
        charges: named parts of the total, bits.
        curve: rows of ``curve.csv``; none: only the charges are drawn.
        uniform_bits: length of the uniform code, drawn as a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6 if curve else 4.8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if curve else 1, squeeze=False)[0]
    _charges(axes[0], charges, uniform_bits)
    if curve:
        along = [row for row in curve if row.get("epoch") is not None]
        (_training if along else _choices)(axes[1], along or curve, uniform_bits)
    return figure


def _charges(axes: "Axes", charges: Mapping[str, float], uniform_bits: float) -> None:
    names = sorted(charges, key=charges.__getitem__)
    bits = [charges[name] / KBIT for name in names]
    bars = axes.barh([name.replace("_", " ") for name in names], bits, color="tab:blue")
    axes.bar_label(bars, [f"{value:,.3f}" for value in bits], padding=3, fontsize=8)
    axes.set_xlim(0, 1.2 * max(bits))
    total = sum(bits)
    axes.set_xlabel("kbit")
    axes.set_title(f"{total:,.3f} kbit, {KBIT * total / uniform_bits:.4f} of uniform", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _training(axes: "Axes", curve: Sequence[Mapping[str, Any]], uniform_bits: float) -> None:
    epochs = [row["epoch"] for row in curve]
    for key, name, colour in (
        ("total_bits", "total", "black"),
        ("label_bits", "labels", "tab:orange"),
        ("kl_bits", "weights (KL)", "tab:blue"),
    ):
        axes.plot(epochs, [row[key] / KBIT for row in curve], marker=".", label=name, color=colour)
    axes.axhline(uniform_bits / KBIT, color="grey", linestyle="--", linewidth=1, label="uniform")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("kbit")
    axes.set_title("along the training, one draw of the weights", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _choices(axes: "Axes", curve: Sequence[Mapping[str, Any]], uniform_bits: float) -> None:
    model = [row["model_bits"] / KBIT for row in curve]
    total = [row["total_bits"] / KBIT for row in curve]
    axes.scatter(model, total, s=14, color="tab:blue")
    best = min(range(len(total)), key=total.__getitem__)
    named = ("format", "sparsity", "quantiser", "rate")
    said = ", ".join(f"{key} {curve[best][key]}" for key in named if key in curve[best])
    axes.scatter(model[best], total[best], s=60, facecolors="none", edgecolors="tab:red", label=said)
    axes.axhline(uniform_bits / KBIT, color="grey", linestyle="--", linewidth=1, label="uniform")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("model, kbit")
    axes.set_ylabel("model and labels, kbit")
    axes.set_title("every setting that was tried", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
