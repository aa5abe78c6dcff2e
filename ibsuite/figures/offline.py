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
    """The charges of a description, the codelength along the training, and the choices made, kbit.

    The latter two panels are drawn where the curve has rows for them: rows with an ``epoch`` were
    measured along the training, the others are settings that were tried.

    Args:
        charges: named parts of the total, bits.
        curve: rows of ``curve.csv``.
        uniform_bits: length of the uniform code, drawn as a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    along = [row for row in curve if row.get("epoch") is not None]
    tried = [row for row in curve if row.get("epoch") is None]
    panels = 1 + bool(along) + bool(tried)
    figure = Figure(figsize=(4.8 * panels, 3.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    _charges(axes.pop(0), charges, uniform_bits)
    if along:
        _training(axes.pop(0), along, uniform_bits)
    if tried:
        _choices(axes.pop(0), tried, uniform_bits)
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
        ("model_bits", "weights", "tab:blue"),
    ):
        if curve[0].get(key) is not None:
            axes.plot(epochs, [row[key] / KBIT for row in curve], marker=".", label=name, color=colour)
    axes.axhline(uniform_bits / KBIT, color="grey", linestyle="--", linewidth=1, label="uniform")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("kbit")
    axes.set_title("along the training", fontsize=10)
    _plain(axes.yaxis)
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
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    axes.legend(fontsize=8, frameon=False)


def _plain(axis: Any) -> None:
    """Numbers as they are read, not powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
