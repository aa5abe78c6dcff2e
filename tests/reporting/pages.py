"""Run folders that fill every panel of a page, and what a page holds."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ibsuite.record import CONFIG, CURVE, INFORMATION, Bottleneck, write_bottleneck, write_csv

Make = Callable[..., Path]


def many_runs(make_run: Make, make_compressed: Make) -> list[Path]:
    """Two seeds in blocks, three betas of a representation, a pruned network, watched layers, a curve."""
    runs = [make_run(0), make_run(1)]
    whole = {"code": "two_part", "parts": [{"start": 0, "stop": 8, "bits": 6.0, "accuracy": 0.75}]}
    for i, beta in enumerate((0.01, 0.1, 1.0)):
        charges = {"labels": 6.0 + i, "weights": 3.0}
        run = make_run(0, "deepvib", config=f"init_args: {{beta: {beta}}}", charges=charges, **whole)
        write_bottleneck(run, Bottleneck(beta=beta, train=figures(i), validation=figures(i + 0.5), test=None))
        runs.append(run)
    runs.append(make_compressed(0))
    layers = make_run(0, "layerwise", **whole)
    rows = [
        {"step": step, "labels": 8, "layer": name, "width": 4, "noise_variance": 0.1, "samples": 8,
         "mi_xl_lower_bits": 1.0 + step, "mi_yl_lower_bits": 0.5 + step / 4}
        for step in (0, 1, 2) for name in ("layers.1", "layers.3")
    ]  # fmt: skip
    write_csv(layers / INFORMATION, rows)
    curve = make_run(0, "net_prune_baseline", config="x: 1", **{**whole, "code": "network_compression"})
    settings = [{"kept": share} for share in (0.1, 0.5)]
    told = {"network": "net/ab", "method": "prune", "objective": "baseline", "settings": settings}
    config = {"experiment": "net_prune_baseline", "seed_everything": 0, "compress": told}
    (curve / CONFIG).write_text(yaml.safe_dump(config))
    read = {"model_bits": 100.0, "total_bits": 110.0, "test_nll_bits": 2.0, "test_accuracy": 0.5}
    write_csv(
        curve / CURVE, [{**each, **read, "model_bits": 100 * (i + 1)} for i, each in enumerate(settings)]
    )
    return [*runs, layers, curve]


def figures(x: float) -> dict[str, float]:
    """Figures of a split of ``bottleneck.json``."""
    bounds = {
        "rate_bits": 9 - x,
        "distortion_bits": 0.2 + x,
        "mi_zx_upper_bits": 9 - x,
        "mi_zy_lower_bits": 1.8 - x,
    }
    return {**bounds, "error_one_draw_percent": 5 + x, "error_percent": 4 + x}


def figures_of(page: Path) -> list[dict[str, Any]]:
    """Specifications of all figures of a page."""
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page.read_text(), re.S)
    assert found
    specs: list[dict[str, Any]] = json.loads(found[1])
    return specs
