"""Time clustering and entropy-constrained quantisation of many weights, and say what they cost then.

    python scripts/benchmark_kmeans.py [--weights 1000000] [--clusters 16] [--json results/kmeans.json]

Weights are drawn from Student's t distribution with 4 degrees of freedom, their importances from gamma
distributions that leave most of them small, as in trained networks. One thread does the work. The
objective is given beside that of plain k-means on the same weights, the length beside that of plain rounding.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ibsuite.compression import (
    entropy_bits,
    quantise_entropy_constrained,
    quantise_uniform,
    weighted_kmeans,
)

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What comes out, and seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    draws = np.random.default_rng(0)
    weights, quadratic, quartic = (
        torch.from_numpy(x)
        for x in (
            0.05 * draws.standard_t(4, args.weights),
            draws.gamma(0.3, 1, args.weights),
            draws.gamma(0.2, 1000, args.weights),
        )
    )
    zeros, ones = torch.zeros_like(weights), torch.ones_like(weights)
    kinds: dict[str, tuple[Tensor, Tensor]] = {
        "plain": (ones, zeros),
        "weighted": (quadratic, zeros),
        "quartic": (quadratic, quartic),
    }
    plain: Tensor | None = None
    figures: dict[str, dict[str, float]] = {}
    print(f"{args.weights:,} weights, {args.clusters} clusters")
    print(f"{'k-means':<22}{'seconds':>9}{'objective':>14}{'of plain k-means':>18}{'rounds':>8}")
    for name, (i, h) in kinds.items():
        found, seconds = timed(lambda i=i, h=h: weighted_kmeans(weights, args.clusters, i, h))  # type: ignore[misc]
        plain = found.values[found.labels] if plain is None else plain
        squares = (weights - plain).square()
        beside = float((i * squares + h * squares.square()).sum())
        print(
            f"{name:<22}{seconds:>9.2f}{found.objective:>14.5g}{beside:>18.5g}{len(found.trace):>8}",
            flush=True,
        )
        figures[name] = {"seconds": seconds, "objective": found.objective, "objective_of_plain": beside}
    step = float(weights.std()) / 4
    price = float(quadratic.mean()) * step**2 / 10
    print(f"{'grid':<22}{'seconds':>9}{'bits a weight':>14}{'of rounding':>18}")
    for name, (i, h) in kinds.items():
        sent, seconds = timed(
            lambda i=i, h=h: quantise_entropy_constrained(weights, step, price, i, h)  # type: ignore[misc]
        )
        bits, rounded = (
            entropy_bits(q.symbols.unique(return_counts=True)[1]) / args.weights
            for q in (sent, quantise_uniform(weights, step))
        )
        print(f"{name:<22}{seconds:>9.2f}{bits:>14.3f}{rounded:>18.3f}", flush=True)
        figures[f"grid, {name}"] = {"seconds": seconds, "bits": bits, "bits_of_rounding": rounded}
    if args.json:
        machine = {"torch": torch.__version__, "threads": 1, "platform": platform.machine()}
        command = f"python scripts/benchmark_kmeans.py --weights {args.weights} --clusters {args.clusters}"
        args.json.write_text(
            json.dumps({"command": command, "machine": machine, "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
