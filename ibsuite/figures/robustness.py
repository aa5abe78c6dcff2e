"""Errors under attack: over the size of the change, and over the price of the rate."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ibsuite.figures.prequential import FONTS, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"linf": "greatest change of a pixel, ε", "l2": "Euclidean length of the change, ε"}
Line = tuple[float | None, str, Sequence[Mapping[str, Any]]]
"""Beta, name, and the documents of its seeds."""


def robustness_figure(experiments: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Errors by projected gradient descent over epsilon, a line for each beta; below, over beta.

    Broken lines: by one step along the gradient. Means over seeds. The second row is there where there are
    two values of beta or more.

    Source: after Alemi et al. 2017 (Deep VIB), the figures of robustness against beta.

    Args:
        experiments: ``robustness.json`` of all runs, by the name of their experiment.

    Returns:
        The figure on an Agg canvas: ``figure.savefig(path, dpi=200)`` writes it.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = _lines(experiments)
    betas = [beta for beta, _, _ in lines if beta is not None]
    rows = 2 if len(set(betas)) > 1 else 1
    figure = Figure(figsize=(9.6, 3.9 * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, squeeze=False, sharey=True)
    shades = colormaps["viridis"].resampled(256)
    for column, norm in enumerate(NAMES):
        top = panels[0][column]
        for number, (_, name, documents) in enumerate(lines):
            colour = shades(0.9 * number / max(1, len(lines) - 1))
            for attack, style in (("pgd", "-"), ("fgsm", ":")):
                epsilons, errors = _means(documents, f"{attack}_{norm}")
                told = {"label": name, "marker": "o", "ms": 4} if attack == "pgd" else {"alpha": 0.7}
                top.plot(epsilons, errors, ls=style, lw=1.5, color=colour, **told)
        _dress(top, NAMES[norm])
        if rows == 2:
            _over_beta(panels[1][column], lines, norm)
    told = {"title": "PGD; dotted: FGSM", "title_fontsize": FONTS["tick"]}
    panels[0][0].legend(fontsize=FONTS["legend"], frameon=False, **told)
    for row in panels:
        row[0].set_ylabel("Error (%)", fontsize=FONTS["label"])
        row[0].set_ylim(-2, 102)
    return figure


def _lines(experiments: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Line]:
    """Documents of one experiment and beta together, in the order of beta."""
    lines: list[Line] = []
    for name, documents in experiments.items():
        by_beta: dict[float | None, list[Mapping[str, Any]]] = {}
        for document in documents:
            by_beta.setdefault(document["beta"], []).append(document)
        for beta in sorted(by_beta, key=lambda each: (each is not None, each or 0.0)):
            words = [name] if len(experiments) > 1 or beta is None else []
            words += [] if beta is None else [f"β = {beta:g}"]
            lines.append((beta, ", ".join(words), by_beta[beta]))
    return lines


def _means(documents: Sequence[Mapping[str, Any]], attack: str) -> tuple[list[float], list[float]]:
    found = [document["attacks"][attack] for document in documents]
    if any(each["epsilon"] != found[0]["epsilon"] for each in found):
        raise ValueError("runs that are drawn as one line must be attacked with the same epsilons")
    errors = zip(*(each["error_percent"] for each in found), strict=True)
    return list(found[0]["epsilon"]), [fmean(each) for each in errors]


def _over_beta(axes: "Axes", lines: Sequence[Line], norm: str) -> None:
    from matplotlib import colormaps

    known = sorted((line for line in lines if line[0] is not None), key=lambda line: line[0] or 0.0)
    betas = [beta or 0.0 for beta, _, _ in known]
    curves = [_means(documents, f"pgd_{norm}") for _, _, documents in known]
    epsilons = [e for e in curves[0][0] if all(e in other for other, _ in curves)]
    shades = colormaps["plasma"]
    for number, epsilon in enumerate(epsilons):
        errors = [errors[each.index(epsilon)] for each, errors in curves]
        colour = shades(0.9 * number / max(1, len(epsilons) - 1))
        axes.plot(betas, errors, marker="o", ms=4, lw=1.5, color=colour, label=f"ε = {epsilon:g}")
    positive = [beta for beta in betas if beta > 0]
    if positive and min(betas) == 0:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
    elif positive:
        axes.set_xscale("log")
    _dress(axes, "β, weight of the rate")
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="center left", bbox_to_anchor=(0.02, 0.68))


def _dress(axes: "Axes", x: str) -> None:
    axes.set_xlabel(x, fontsize=FONTS["label"])
    axes.tick_params(which="both", labelsize=FONTS["tick"], length=3, color=UNIFORM)
    axes.grid(True, color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
