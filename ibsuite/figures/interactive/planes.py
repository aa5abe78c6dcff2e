"""Information planes, bits: of stochastic representations, and of layers along a training."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ibsuite.figures.bottleneck import Curve
from ibsuite.figures.information_plane import plane_column
from ibsuite.figures.interactive.style import Spec, axis, colour, guide, spec, style

Rows = Sequence[Mapping[str, Any]]


def representations_spec(experiments: Mapping[str, Mapping[str, Curve]]) -> Spec:
    """Lower bounds on I(Z;Y) over upper bounds on I(Z;X): a mark a setting, the mean over its seeds.

    Args:
        experiments: by name, the curves of each experiment by split; broken lines: labels trained on.
    """
    data: list[dict[str, Any]] = []
    for index, (name, splits) in enumerate(experiments.items()):
        for split, curve in splits.items():
            points = sorted(
                (tuple(fmean(values) for values in zip(*seeds, strict=True)) for seeds in curve),
                key=lambda point: point[3],
            )
            data.append({
                "type": "scatter",
                "x": [point[3] for point in points],
                "y": [point[4] for point in points],
                "customdata": [[point[0], point[1]] for point in points],
                "mode": "lines+markers",
                "name": f"{name}, {split}",
                "line": style(index, dash="dash" if split == "train" else "solid"),
                "marker": {"size": 8, "symbol": "circle-open" if split == "train" else "circle"},
                "hovertemplate": "β = %{customdata[0]:g}: I(Z;X) ≤ %{x:.2f}, I(Z;Y) ≥ %{y:.3f} bits, "
                "error %{customdata[1]:.2f} %<extra>%{fullData.name}</extra>",
            })  # fmt: skip
    right = max(max(each["x"]) for each in data)
    top = max(max(each["y"]) for each in data)
    data.append(guide([0, min(top, right)], [0, min(top, right)], "I(Z;Y) = I(Z;X)"))
    return spec(data, axis("I(Z;X), upper bound, bits"), axis("I(Z;Y), lower bound, bits"))


def layers_spec(runs: Mapping[str, Rows]) -> Spec | None:
    """Every layer's path through the plane; it ends at the large mark. None where nothing is on both axes.

    Args:
        runs: rows of ``information.csv`` by the name of the run.
    """
    data: list[dict[str, Any]] = []
    rows = [row for each in runs.values() for row in each]
    x, y = (plane_column(rows, quantity) for quantity in ("mi_xl", "mi_yl"))
    for number, (name, own) in enumerate(runs.items()):
        for index, layer in enumerate(dict.fromkeys(row.get("layer") for row in own)):
            path = [r for r in own if r.get("layer") == layer and None not in (r.get(x), r.get(y))]
            if path:
                data.append({
                    "type": "scatter",
                    "x": [row[x] for row in path],
                    "y": [row[y] for row in path],
                    "customdata": [row.get("step") for row in path],
                    "mode": "lines+markers",
                    "name": f"{name}: {layer}" if len(runs) > 1 else str(layer),
                    "line": style(index, dash=("solid", "dash", "dot", "dashdot")[number % 4]),
                    "marker": {"size": [4] * (len(path) - 1) + [11], "color": colour(index)},
                    "hovertemplate": "step %{customdata:,}: %{x:.2f}, %{y:.3f} bits"
                    "<extra>%{fullData.name}</extra>",
                })  # fmt: skip
    if not data:
        return None
    top = max(max(each["y"]) for each in data)
    data.append(guide([0, top], [0, top], "I(Y;L) = I(X;L)"))
    return spec(data, axis(f"I(X; L+ε), {_kind(x)}, bits"), axis(f"I(Y; L+ε), {_kind(y)}, bits"))


def _kind(column: str) -> str:
    kind = column[6:-5].strip("_")
    return {"lower": "lower bound", "upper": "upper bound", "": "estimate"}.get(kind, kind)
