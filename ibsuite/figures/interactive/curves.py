"""Rate-distortion curves of networks that were pruned or quantised: cross entropy and accuracy over size."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ibsuite.figures.interactive.style import Spec, axis, log_axis, spec, style

Rows = Sequence[Mapping[str, Any]]


def curves_spec(curves: Mapping[str, Sequence[Rows]], scattered: frozenset[str], split: str) -> Spec:
    """Left: distortion, cross entropy in bits a label; right: accuracy; both over the network's kbit.

    Args:
        curves: by name, the rows of ``curve.csv`` of every seed; marks are means over seeds.
        scattered: names of those whose settings of one size lie anywhere, so that no line joins them.
        split: whose readings are drawn: ``test``, ``validation`` or ``train``.
    """
    data: list[dict[str, Any]] = []
    for index, (name, seeds) in enumerate(curves.items()):
        means = [
            {key: fmean(row[key] for row in rows) for key in ("model_bits", *_keys(split))}
            for rows in zip(*seeds, strict=True)
        ]
        means.sort(key=lambda row: row["model_bits"])
        for place, key in enumerate(_keys(split), 1):
            factor, said = (100, "%") if key.endswith("accuracy") else (1, "bits a label")
            data.append({
                "type": "scatter",
                "x": [row["model_bits"] / 1000 for row in means],
                "y": [factor * row[key] for row in means],
                "xaxis": f"x{place}" if place > 1 else "x",
                "yaxis": f"y{place}" if place > 1 else "y",
                "mode": "markers" if name in scattered else "lines+markers",
                "name": name,
                "legendgroup": name,
                "showlegend": place == 1,
                "line": style(index),
                "marker": {"size": 6},
                "hovertemplate": f"%{{x:,.2f}} kbit: %{{y:.4g}} {said}<extra>%{{fullData.name}}</extra>",
            })  # fmt: skip
    sizes = [x for each in data for x in each["x"]]
    errors = [y for each in data if each["showlegend"] for y in each["y"]]
    rate = log_axis("rate: network, kbit", sizes)
    return spec(
        data,
        {**rate, "domain": [0, 0.46]},
        log_axis(f"distortion: {split} cross entropy, bits a label", errors),
        xaxis2={**rate, "domain": [0.56, 1], "anchor": "y2"},
        yaxis2={**axis(f"{split} accuracy, %", rangemode="normal"), "anchor": "x2"},
    )


def _keys(split: str) -> tuple[str, str]:
    return f"{split}_nll_bits", f"{split}_accuracy"
