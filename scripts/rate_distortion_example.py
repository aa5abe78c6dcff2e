"""The least number of bits for a linear model, drawn, and how far above it practical compressors are.

    python scripts/rate_distortion_example.py [--json results/rate_distortion_linear.json]

Two figures: weighted water-filling for S_W = S_X = diag(3, 2, 1), and a linear regression with 1,000 inputs
of variances 1/i and weights from N(0, 1), of which 1,000 models are drawn. A rate is for a whole model:

* test channel: the information of theorem 3's compressor, exact; its distortion is measured;
* uniform: rounding to multiples of a step proportional to 1 / sqrt(lambda_i), and the ideal code lengths of
  the integers, averaged over the models;
* pruning: 32 bits for each weight that is kept, log2 C(m, k) for which they are, log2(m + 1) for how many.

All distortions are averages over the models, and so is what the bound is about.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ibsuite.figures import Filling, RatePoint, rate_comparison_figure, water_filling_figure
from ibsuite.information import (
    WaterFilling,
    entropy_coded_uniform,
    gaussian_test_channel,
    prune_least_important,
)
from ibsuite.record import provenance, write_json
from ibsuite.seeds import generator
from ibsuite.units import nats_to_bits

WEIGHTS, MODELS = 1000, 1000
SHARES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001, 0.0003, 0.0001)
STEPS = (100, 20, 6, 3, 1.5, *SHARES[2:])
"""Shares of the power that errors of step^2 / 12 would have."""
KEPT = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900)
FLOAT_BITS = 32


def water_filling(folder: Path) -> dict[str, Any]:
    """The worked example: its figure, and its numbers."""
    sizes = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    filling = WaterFilling(sizes, sizes)
    d = torch.linspace(0.15, 15, 300, dtype=torch.float64)
    corners = list(zip(*(each.tolist() for each in filling.break_points), strict=True))
    panels = [Filling(x, float(filling.rate_bits(x)), filling.levels(x).tolist()) for x in (1.5, 6.0, 11.5)]
    curve = list(zip(d.tolist(), filling.rate_bits(d).tolist(), strict=True))
    figure = water_filling_figure(sizes.tolist(), sizes.tolist(), panels, curve, corners)
    figure.savefig(folder / "rate_distortion_water_filling.png", dpi=200)
    return {
        "break_points": [{"distortion": x, "rate_bits": bits} for x, bits in corners],
        "fillings": [panel._asdict() for panel in panels],
    }


def compressors(
    importance: Tensor, variance: Tensor, weights: Tensor, seed: int
) -> Iterator[tuple[str, Tensor, float]]:
    """Name, compressed models (n, m) and bits per model of every setting."""
    filling, m = WaterFilling(importance, variance), len(importance)
    power = float(importance @ variance)
    for i, share in enumerate(SHARES):
        channel = gaussian_test_channel(weights, importance, variance, share * power, generator(seed, 1, i))
        yield "test channel (theorem 3)", channel, float(filling.rate_bits(share * power))
    for share in STEPS:
        step = (12 * share * power / m / importance).sqrt()
        code = entropy_coded_uniform(weights, variance, step)
        yield "uniform, entropy coded", code.weights, float(code.bits.sum(1).mean())
    criteria = (("pruning by w²", torch.ones(m)), ("pruning by λw²", importance))
    for name, criterion in criteria:
        for kept in KEPT:
            which = math.lgamma(m + 1) - math.lgamma(kept + 1) - math.lgamma(m - kept + 1)
            bits = nats_to_bits(which + math.log(m + 1)) + FLOAT_BITS * kept
            yield f"{name}, 32 bits a weight", prune_least_important(weights, criterion, kept), bits


def linear_regression(folder: Path, seed: int) -> dict[str, Any]:
    """The compressors beside the bound: the figure, and its numbers."""
    importance = 1 / torch.arange(1, WEIGHTS + 1, dtype=torch.float64)
    variance = torch.ones(WEIGHTS, dtype=torch.float64)
    weights = torch.randn(MODELS, WEIGHTS, dtype=torch.float64, generator=generator(seed, 0))
    filling, power = WaterFilling(importance, variance), float(importance @ variance)
    measured: dict[str, list[RatePoint]] = {}
    print(f"{'compressor':<34}{'D share':>10}{'bits':>11}{'bound':>10}{'active':>8}{'above, bit/active':>19}")
    for name, compressed, bits in compressors(importance, variance, weights, seed):
        d = float(((weights - compressed).square() @ importance).mean())
        active = int((filling.levels(d) < variance).sum())
        point = RatePoint(d, bits, float(filling.rate_bits(d)), active)
        measured.setdefault(name, []).append(point)
        above = (bits - point.bound_bits) / max(active, 1)
        print(f"{name:<34}{d / power:>10.5f}{bits:>11.2f}{point.bound_bits:>10.2f}{active:>8}{above:>19.4f}")
    d = power * torch.logspace(math.log10(SHARES[-1]), 0, 200, dtype=torch.float64)
    curve = list(zip(d.tolist(), filling.rate_bits(d).tolist(), strict=True))
    rate_comparison_figure(measured, curve, power).savefig(folder / "rate_distortion_linear.png", dpi=200)
    rows = {name: [point._asdict() for point in points] for name, points in measured.items()}
    return {"weights": WEIGHTS, "models": MODELS, "seed": seed, "power": power, "compressors": rows}


def main() -> None:
    """Draw both figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="where the figures go")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.figures.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {**provenance()}
    document["command"] = f"python scripts/rate_distortion_example.py --seed {args.seed}"
    document["water_filling"] = water_filling(args.figures)
    document["linear_regression"] = linear_regression(args.figures, args.seed)
    if args.json:
        write_json(args.json, document)


if __name__ == "__main__":
    main()
