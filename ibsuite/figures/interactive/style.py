"""What all specifications share: colours for light and dark pages, axes, lines, and legends of any length."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
"""``{data, layout}`` of Plotly."""

COLOURS = ("#2A7FC1", "#E0703A", "#22A884", "#C978B0", "#E5A823", "#7A6BC4", "#56B4E9", "#B5564A", "#7D8B99",
           "#9BB545")  # fmt: skip
"""After Okabe and Ito, of a lightness that is seen on white and on near-black."""
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
GREY = "#8A8F98"
FAINT = 0.3
NARROW = 300
LISTED = 40
"""So many entries a legend has at most; beyond them a curve says its name where the mouse is."""


def colour(index: int) -> str:
    """The colour of the curve at ``index``."""
    return COLOURS[index % len(COLOURS)]


def style(index: int, **more: Any) -> dict[str, Any]:
    """Of the line at ``index``: colours are gone through first, then dashes."""
    return {"color": colour(index), "width": 2, "dash": DASHES[index // len(COLOURS) % len(DASHES)], **more}


def axis(title: str, *, log: bool = False, **more: Any) -> dict[str, Any]:
    """An axis with its quantity and unit."""
    kind = {"type": "log", "dtick": 1} if log else {"rangemode": "tozero"}
    return {"title": {"text": title, "standoff": 8}, "automargin": True, "zeroline": False, **kind, **more}


def log_axis(title: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """A logarithmic axis of positive values, with ticks at 1, 2, 5, 10, ... where it spans little."""
    low, high = min(values), max(values)
    ticks: dict[str, Any] = {}
    if high < NARROW * low:
        tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = [digit * 10.0**ten for ten in tens for digit in (1, 2, 5)]
        inside = [mark for mark in marks if low / 1.5 <= mark <= 1.5 * high]
        ticks = {"tickvals": inside, "ticktext": [f"{mark:,.10g}" for mark in inside]}
    return axis(title, log=True, exponentformat="none", separatethousands=True, **ticks, **more)


def spec(
    data: Sequence[Mapping[str, Any]], x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any
) -> Spec:
    """Traces in one pair of axes; the legend lies below and scrolls, or is left out where it is endless."""
    entries = sum(bool(each.get("showlegend", True)) for each in data)
    made = {
        "height": 400,
        "margin": {"l": 10, "r": 16, "t": 30, "b": 10},
        "hovermode": "closest",
        "showlegend": 1 < entries <= LISTED,
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "maxheight": 90},
        "xaxis": dict(x),
        "yaxis": dict(y),
        **layout,
    }
    return {"data": [dict(each) for each in data], "layout": made}


def guide(x: Sequence[float], y: Sequence[float], name: str, **more: Any) -> dict[str, Any]:
    """A dotted grey line to compare with."""
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    return {"type": "scatter", "x": list(x), "y": list(y), "mode": "lines", "name": name, "line": line,
            "hoverinfo": "name", **more}  # fmt: skip


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of one value."""
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
