"""Codes that send labels in blocks: bits so far against labels sent, and the ratio so far."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ibsuite.figures.interactive.style import FAINT, Spec, axis, colour, guide, log_axis, spec, style

Parts = Sequence[Mapping[str, Any]]
"""``parts`` of one run: stop, cumulative_bits, uniform_bits, ratio of every block."""


def blocks_spec(
    groups: Mapping[str, Sequence[Parts]], uniform_bits: float, whole: Mapping[str, tuple[int, float]]
) -> Spec:
    """Bits against labels sent, both logarithmic: a line is the mean over seeds, faint lines are the seeds.

    Args:
        groups: parts of every seed by the name of the code.
        uniform_bits: what the uniform code takes for one label, log2 K.
        whole: of codes without blocks the labels and their bits, drawn as a mark.
    """
    data = _lines(groups, "cumulative_bits", "%{y:,.1f} bit for %{x:,} labels")
    for index, (name, (labels, bits)) in enumerate(whole.items(), len(groups)):
        mark = {"symbol": "diamond-open", "size": 10, "color": colour(index), "line": {"width": 2}}
        hover = "%{y:,.1f} bit for %{x:,} labels<extra>%{fullData.name}</extra>"
        data.append({"type": "scatter", "x": [labels], "y": [bits], "mode": "markers", "name": name,
                     "marker": mark, "hovertemplate": hover})  # fmt: skip
    ends = [part["stop"] for seeds in groups.values() for parts in seeds for part in parts]
    ends += [labels for labels, _ in whole.values()]
    ends = [min(ends), max(ends)]
    data.append(guide(ends, [n * uniform_bits for n in ends], "uniform code"))
    heights = [y for each in data for y in each["y"] if y > 0]
    return spec(data, log_axis("labels sent", ends), log_axis("bits so far", heights))


def ratio_spec(groups: Mapping[str, Sequence[Parts]]) -> Spec:
    """Compression ratio so far against labels sent; 1 is the uniform code."""
    data = _lines(groups, "ratio", "ratio %{y:.4f} after %{x:,} labels")
    ends = [x for each in data for x in each["x"]]
    ends = [min(ends), max(ends)]
    data.append(guide(ends, [1, 1], "uniform code"))
    return spec(data, log_axis("labels sent", ends), axis("bits so far / uniform"))


def _lines(groups: Mapping[str, Sequence[Parts]], key: str, said: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = []
    for index, (name, seeds) in enumerate(groups.items()):
        curves = [([part["stop"] for part in parts], [part[key] for part in parts]) for parts in seeds]
        together = all(x == curves[0][0] for x, _ in curves)
        for seed, (x, y) in enumerate(curves if len(curves) > 1 or not together else ()):
            data.append(_line(index, name, x, y, said, together or seed > 0, FAINT if together else 0.9))
        if together:
            mean = [fmean(values) for values in zip(*(y for _, y in curves), strict=True)]
            data.append(_line(index, name, curves[0][0], mean, said, False, 1))
    return data


def _line(
    index: int, name: str, x: list[float], y: list[float], said: str, hidden: bool, opacity: float
) -> dict[str, Any]:
    faint = opacity == FAINT
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines" if faint else "lines+markers",
        "name": name,
        "legendgroup": name,
        "showlegend": not hidden,
        "opacity": opacity,
        "line": style(index, width=1 if faint else 2),
        "marker": {"size": 6},
        "hovertemplate": f"{said}<extra>%{{fullData.name}}{', a seed' if faint else ''}</extra>",
    }
