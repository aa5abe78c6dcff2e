"""Codes of the same labels side by side: their charges stacked, and their ratios to the uniform code."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ibsuite.figures.codes import COLOURS, OTHER, Bar, Panel
from ibsuite.figures.interactive.style import GREY, Spec, axis, colour, log_axis, spec

CHOICES = "#D1495B"
ROOM = 1.6
"""How far beyond the uniform code the axis goes; longer bars are cut, their length stands beside them."""
ROW = 24
"""Pixels of one bar."""
SQUEEZE = 30
"""Where the longest is so many times the shortest, an axis of ratios is logarithmic."""


class Dot(NamedTuple):
    """The ratio of one code."""

    name: str
    ratio: float
    spread: float | None
    kind: str
    """What its length is: measured, estimated, bound, published."""


def charges_spec(panel: Panel) -> Spec:
    """A bar a code, shortest on top, of its charges in bit or kbit; published totals are outlined."""
    bars = list(panel.bars)
    kilo = panel.uniform_bits >= 10_000
    scale, unit = (1000, "kbit") if kilo else (1, "bit")
    names = _names(bars)
    data: list[dict[str, Any]] = []
    for charge in dict.fromkeys([*COLOURS, *(name for bar in bars for name in bar.charges)]):
        lengths = [bar.charges.get(charge, 0.0) / scale for bar in bars]
        if any(lengths):
            paint, words = COLOURS.get(charge, (OTHER[0], charge.replace("_", " ")))
            data.append(
                _bars(lengths, names, words, {"color": CHOICES if charge == "choices" else paint}, unit)
            )
    published = [0.0 if bar.charges else bar.total_bits / scale for bar in bars]
    if any(published):
        outline = {"color": "rgba(138,143,152,.18)", "line": {"color": GREY, "width": 1}}
        data.append(_bars(published, names, "published total", outline, unit))
    uniform = panel.uniform_bits / scale
    longest = max(bar.total_bits for bar in bars) / scale
    line = {"type": "line", "x0": uniform, "x1": uniform, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": GREY, "dash": "dot", "width": 1.5}}  # fmt: skip
    notes = [{"x": uniform, "y": 1, "yref": "paper", "text": "uniform", "showarrow": False,
              "yanchor": "bottom"}]  # fmt: skip
    end = min(max(longest, uniform), ROOM * uniform)
    for bar, name in zip(bars, names, strict=True):  # an arrow: the bar goes on
        total = bar.total_bits / scale
        text = f"{total:,.{3 if kilo else 1}f}" + (" →" if total > end else "")
        notes.append({"x": 1, "xref": "paper", "y": name, "text": text, "showarrow": False,
                      "xanchor": "left", "xshift": 6, "font": {"size": 11}})  # fmt: skip
    return spec(
        data,
        axis(f"description length, {unit}", range=[0, 1.01 * end]),
        {"autorange": "reversed", "automargin": True, "type": "category"},
        barmode="stack",
        bargap=0.28,
        height=130 + ROW * len(bars),
        margin={"l": 10, "r": 96, "t": 30, "b": 10},
        legend={
            "orientation": "h",
            "y": -60 / (ROW * len(bars)),
            "yanchor": "top",
            "x": 0,
            "traceorder": "normal",
        },
        shapes=[line],
        annotations=notes,
    )


def ratios_spec(dots: Sequence[Dot]) -> Spec:
    """A mark a code on the axis of total / uniform, with its spread; open where it is not measured bytes."""
    names = _names(dots)
    data: list[dict[str, Any]] = []
    for index, kind in enumerate(dict.fromkeys(dot.kind for dot in dots)):
        rows = [(name, dot) for name, dot in zip(names, dots, strict=True) if dot.kind == kind]
        symbol = {"measured": "circle", "published": "diamond-open"}.get(kind, "circle-open")
        paint = GREY if kind == "published" else colour(index)
        data.append({
            "type": "scatter",
            "x": [dot.ratio for _, dot in rows],
            "y": [name for name, _ in rows],
            "error_x": {"type": "data", "array": [dot.spread or 0 for _, dot in rows], "thickness": 1.2},
            "mode": "markers",
            "name": kind,
            "marker": {"symbol": symbol, "size": 10, "color": paint, "line": {"width": 2}},
            "hovertemplate": "%{y}: ratio %{x:.4f}<extra>%{fullData.name}</extra>",
        })  # fmt: skip
    ratios = [dot.ratio for dot in dots]
    wide = max(ratios) > SQUEEZE * min(ratios)
    title = "total / uniform"
    line = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": GREY, "dash": "dot", "width": 1.5}}  # fmt: skip
    return spec(
        data,
        log_axis(title, ratios) if wide else axis(title),
        {"autorange": "reversed", "automargin": True, "type": "category", "categoryarray": names,
         "categoryorder": "array"},
        height=150 + ROW * len(dots),
        shapes=[line],
        legend={"orientation": "h", "y": -60 / (ROW * len(dots)), "yanchor": "top", "x": 0},
    )  # fmt: skip


def _bars(
    lengths: list[float], names: list[str], said: str, marker: dict[str, Any], unit: str
) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": lengths,
        "y": names,
        "name": said,
        "marker": marker,
        "hovertemplate": f"%{{y}}<br>{said}: %{{x:,.6g}} {unit}<extra></extra>",
    }


def _names(rows: Sequence[Bar | Dot]) -> list[str]:
    """Names on one line, each once: a category that comes twice would be one row."""
    found: list[str] = []
    for row in rows:
        name = row.name.replace("\n", " · ")
        found.append(name if name not in found else f"{name} ({found.count(name) + len(found)})")
    return found
