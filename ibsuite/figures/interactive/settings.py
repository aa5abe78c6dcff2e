"""A sweep in parallel coordinates: a line a setting, an axis for all that differs and all that came of it.

Drawn from plain lines, not by Plotly's own parallel coordinates, which need WebGL.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ibsuite.figures.interactive.style import GREY, Spec, spec

SCALE = ((68, 88, 168), (42, 157, 143), (233, 163, 59), (214, 84, 60))
"""From the best to the worst, in red, green, blue; seen on white and on near-black."""
WIDE = 30
"""Where the largest is so many times the smallest, an axis of positive numbers is logarithmic."""
CATEGORIES = 12
TICKS = 5


class Trial(NamedTuple):
    """One setting of a sweep."""

    name: str
    values: Mapping[str, Any]
    """Settings, then outcomes, by the names of their axes; the last one colours the lines: less is better."""


def settings_spec(trials: Sequence[Trial]) -> Spec:
    """Every trial as a line through its values; all trials have the same axes."""
    axes = list(trials[0].values)
    places = {name: _places([trial.values[name] for trial in trials]) for name in axes}
    best = places[axes[-1]][0]
    data: list[dict[str, Any]] = []
    for index, trial in enumerate(trials):
        said = "<br>".join(f"{name}: {_text(value)}" for name, value in trial.values.items())
        data.append({
            "type": "scatter",
            "x": list(range(len(axes))),
            "y": [places[name][0][index] for name in axes],
            "mode": "lines+markers",
            "line": {"color": _shade(best[index]), "width": 1.6, "shape": "linear"},
            "marker": {"size": 5},
            "opacity": 0.8,
            "name": trial.name,
            "showlegend": False,
            "hovertemplate": f"{said}<extra>{trial.name}</extra>",
        })  # fmt: skip
    shapes, notes = [], []
    for place, name in enumerate(axes):
        line = {"color": GREY, "width": 1}
        shapes.append(
            {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": line, "layer": "below"}
        )
        title = f"<b>{name}</b>" if place == len(axes) - 1 else name
        notes.append({"x": place, "y": 1.06, "text": title, "showarrow": False, "yanchor": "bottom"})
        notes += [
            {"x": place, "y": height, "text": text, "showarrow": False, "xanchor": "right", "xshift": -5,
             "yshift": 7, "font": {"size": 10, "color": GREY}}
            for height, text in places[name][1]
        ]  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    return spec(
        data,
        {**hidden, "range": [-0.35, len(axes) - 0.75]},
        {**hidden, "range": [-0.05, 1.2]},
        shapes=shapes,
        annotations=notes,
        height=380,
        showlegend=False,
    )


def _places(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where values stand on an axis from 0 to 1, and its ticks; numbers in proportion, words one by one."""
    known = sorted({v for v in values if _is_number(v)})
    if len(known) == len({repr(v) for v in values}) and len(known) > 1:
        log = known[0] > 0 and known[-1] > WIDE * known[0]
        low, high = (math.log(known[0]), math.log(known[-1])) if log else (known[0], known[-1])
        spots = {v: ((math.log(v) if log else v) - low) / (high - low) for v in known}
        if len(known) <= TICKS:
            ticks = [(spots[v], _text(v)) for v in known]
        else:
            shares = [i / (TICKS - 1) for i in range(TICKS)]
            inside = [low + share * (high - low) for share in shares]
            ticks = [(s, _text(math.exp(v) if log else v)) for s, v in zip(shares, inside, strict=True)]
        return [spots[v] for v in values], ticks
    words = list(dict.fromkeys(map(_text, sorted(values, key=lambda v: (str(type(v)), _key(v))))))
    step = 1 / max(1, len(words) - 1)
    heights = {word: i * step if len(words) > 1 else 0.5 for i, word in enumerate(words)}
    ticks = [(heights[word], word if len(word) < 24 else f"{word[:22]}…") for word in words]
    return [heights[_text(v)] for v in values], ticks if len(words) <= CATEGORIES else ticks[
        :: len(words) - 1
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _key(value: Any) -> Any:
    return (0, value, "") if _is_number(value) else (1, 0, str(value))


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _shade(share: float) -> str:
    """A colour between those of ``SCALE``."""
    place = share * (len(SCALE) - 1)
    left = min(int(place), len(SCALE) - 2)
    mixed = (round(a + (place - left) * (b - a)) for a, b in zip(SCALE[left], SCALE[left + 1], strict=True))
    return f"rgb({', '.join(map(str, mixed))})"
