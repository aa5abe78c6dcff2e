"""What is left of compressed networks: units of every gate, and error against size."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ibsuite.figures.interactive.style import GREY, Spec, axis, colour, log_axis, spec, spread, style
from ibsuite.figures.tradeoff import Compressed, Settings

Gates = Sequence[Mapping[str, Any]]
WIDE = 4
"""Where the largest network is so many times the smallest, the axis is logarithmic."""


def units_spec(groups: Mapping[str, Sequence[Gates]]) -> Spec:
    """Units kept behind every gate, percent: a bar a network, the mean over seeds and their spread.

    Args:
        groups: gates of every seed by the name of the network.
    """
    data: list[dict[str, Any]] = []
    for index, (name, seeds) in enumerate(groups.items()):
        shares = [
            [100 * gate["kept"] / gate["units"] for gate in gates]
            for gates in zip(*seeds, strict=False)  # a gate, over the seeds
        ]
        first = seeds[0]
        data.append({
            "type": "bar",
            "x": [f"{gate['name']} ({gate['units']:,})" for gate in first],
            "y": [fmean(each) for each in shares],
            "error_y": {"array": [spread(each) for each in shares], "thickness": 1.2, "color": GREY},
            "customdata": [fmean(gate["kept"] for gate in gates) for gates in zip(*seeds, strict=False)],
            "name": name,
            "marker": {"color": colour(index)},
            "hovertemplate": "%{x}: %{customdata:.4g} units, %{y:.1f} %<extra>%{fullData.name}</extra>",
        })  # fmt: skip
    return spec(data, {"title": {"text": "gate (units)"}, "automargin": True}, axis("units kept, %"))


def training_spec(groups: Mapping[str, Sequence[Mapping[str, Any]]], gates: Gates) -> Spec:
    """Units kept along the training, percent: a colour a gate, a dash a network.

    Args:
        groups: rows with an epoch and the units kept behind every gate, by the name of the network.
        gates: of one network; the others have the same.
    """
    data: list[dict[str, Any]] = []
    for number, (name, rows) in enumerate(groups.items()):
        for index, gate in enumerate(gates):
            data.append({
                "type": "scatter",
                "x": [row["epoch"] for row in rows],
                "y": [100 * row["kept"][index] / gate["units"] for row in rows],
                "mode": "lines",
                "name": f"{name}: {gate['name']}" if len(groups) > 1 else gate["name"],
                "line": style(index, dash=("solid", "dash", "dot", "dashdot")[number % 4]),
                "hovertemplate": "epoch %{x:.1f}: %{y:.1f} %<extra>%{fullData.name}</extra>",
            })  # fmt: skip
    return spec(data, axis("epochs"), axis("units kept, %"))


def tradeoff_spec(experiments: Mapping[str, Settings], printed: Mapping[str, Compressed]) -> Spec | None:
    """Error against surviving weights: a mark a setting, the mean over seeds, joined within an experiment.

    The error is that of the test split where all have one, else of held-out labels; None where neither is.
    """
    every = [net for settings in experiments.values() for seeds in settings for net in seeds]
    split = next(
        (s for s in ("test", "validation") if all(_error(net, s) is not None for net in every)), None
    )
    if split is None:
        return None
    data: list[dict[str, Any]] = []
    for index, (name, settings) in enumerate(experiments.items()):
        points = sorted(
            (
                fmean(net.r_w_percent for net in seeds),
                fmean(_error(net, split) or 0.0 for net in seeds),
                fmean(net.macs for net in seeds),
                spread([_error(net, split) or 0.0 for net in seeds]),
            )
            for seeds in settings
        )
        data.append(_points(name, points, style(index), "lines+markers", "circle"))
    for name, net in printed.items() if split == "test" else ():
        if net.test_error_percent is not None:
            point = (net.r_w_percent, net.test_error_percent, net.macs, 0.0)
            data.append(_points(name, [point], style(len(data)), "markers", "diamond-open"))
    sizes = [x for each in data for x in each["x"]]
    title = "surviving weights, %"
    wide = min(sizes) > 0 and max(sizes) > WIDE * min(sizes)
    return spec(data, log_axis(title, sizes) if wide else axis(title), axis(f"{split} error, %"))


def _points(name: str, points: Sequence[tuple[float, ...]], line: dict, mode: str, symbol: str) -> dict:
    x, y, macs, spreads = (list(values) for values in zip(*points, strict=True))
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "error_y": {"type": "data", "array": spreads, "thickness": 1.2},
        "customdata": macs,
        "mode": mode,
        "name": name,
        "line": line,
        "marker": {"size": 9, "symbol": symbol},
        "hovertemplate": "%{x:.2f} % of the weights, %{customdata:,.0f} MACs: error %{y:.2f} %"
        "<extra>%{fullData.name}</extra>",
    }


def _error(network: Compressed, split: str) -> float | None:
    return network.test_error_percent if split == "test" else network.validation_error_percent
