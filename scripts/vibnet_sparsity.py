"""Units that a price on information leaves of an over-parameterised network, against the rank of its loss.

    python scripts/vibnet_sparsity.py [--starts 50] [--json results/vibnet_sparsity.json]

A network with one hidden layer and fixed random weights, y = sum_j v_j z_j f_j(x), has a gate z_j on each of
its units. Its squared error over a training set is a quadratic in z with A = (v_j f_j(x_i))_ij / sqrt(n), so
that the theorem speaks about it without any approximation. A has low rank in two ways: there are fewer
examples than units (ReLU units), or the inputs span few directions (linear units). From many random starts
the script descends to local minima of the expected error plus gamma / 2 sum_j log(1 + mu_j^2 / sigma_j^2),
and counts the units with mu_j != 0; `alpha < 1`: those that VIBNet's rule keeps.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ibsuite.information import GatedQuadratic, find_local_minimum
from ibsuite.record import provenance, write_json
from ibsuite.seeds import derive_seed

Array = NDArray[np.float64]
UNITS, DIMENSIONS, EXAMPLES = 64, 20, 200
RANKS, GAMMAS = (2, 4, 8, 16), (1e-4, 1e-2)


def few_examples(rank: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs and units' activations: ``rank`` examples, ReLU units."""
    x = rng.standard_normal((rank, DIMENSIONS))
    return x, np.maximum(x @ rng.standard_normal((DIMENSIONS, UNITS)) / np.sqrt(DIMENSIONS) + 0.5, 0.0)


def few_directions(rank: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs and units' activations: inputs in ``rank`` directions, linear units."""
    x = rng.standard_normal((EXAMPLES, rank)) @ rng.standard_normal((rank, DIMENSIONS)) / np.sqrt(rank)
    return x, x @ rng.standard_normal((DIMENSIONS, UNITS)) / np.sqrt(DIMENSIONS)


NETWORKS: dict[str, Callable[[int, np.random.Generator], tuple[Array, Array]]] = {
    "few examples, ReLU": few_examples,
    "few directions, linear": few_directions,
}


def squared_error(x: Array, f: Array, gamma: float, rng: np.random.Generator) -> GatedQuadratic:
    """The objective: mean of (y - sum_j v_j z_j f_j)^2 for targets of a random teacher, price ``gamma``."""
    y = np.tanh(x @ rng.standard_normal(DIMENSIONS) / np.sqrt(DIMENSIONS))
    a = f * rng.standard_normal(UNITS) / np.sqrt(len(x))
    read = np.square(a).sum(0) > 0  # a unit that is never active has no part in the loss
    b = -2 * a.T @ y / np.sqrt(len(x))
    return GatedQuadratic(a[:, read], b[read], gamma, float(np.square(y).mean()))


def count_units(quadratic: GatedQuadratic, starts: int, rng: np.random.Generator) -> dict[str, Any]:
    """What is left at the local minima that random starts lead to."""
    found = [
        find_local_minimum(quadratic, scale * rng.standard_normal(len(quadratic.b)))
        for scale in np.geomspace(0.1, 10, starts)
    ]
    kept = [each.kept for each in found]
    rule = [int((each.variance < np.square(each.mu)).sum()) for each in found]
    return {
        "rank": quadratic.rank,
        "bound_units": quadratic.rank + 1,
        "least_units": min(kept),
        "median_units": statistics.median(kept),
        "greatest_units": max(kept),
        "median_units_alpha_below_1": statistics.median(rule),
        "distinct_minima": len({tuple(np.flatnonzero(each.mu)) for each in found}),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    print(f"{UNITS} units, {args.starts} starts; units with mu != 0 at a local minimum")
    print(f"{'network':<24}{'gamma':>8}{'rank':>6}{'bound':>7}", end="")
    print(f"{'least':>7}{'median':>8}{'most':>6}{'alpha < 1':>11}{'minima':>8}")
    rows = []
    for i, (name, make) in enumerate(NETWORKS.items()):
        for gamma in GAMMAS:
            for rank in RANKS:
                rng = np.random.default_rng(derive_seed(0, i, rank))
                row = count_units(squared_error(*make(rank, rng), gamma, rng), args.starts, rng)
                rows.append({"network": name, "gamma": gamma, **row})
                print(f"{name:<24}{gamma:>8g}{row['rank']:>6}{row['bound_units']:>7}", end="")
                print(f"{row['least_units']:>7}{row['median_units']:>8g}{row['greatest_units']:>6}", end="")
                print(f"{row['median_units_alpha_below_1']:>11g}{row['distinct_minima']:>8}", flush=True)
    if args.json:
        command = f"python scripts/vibnet_sparsity.py --starts {args.starts}"
        document = {**provenance(), "command": command, "units": UNITS, "starts": args.starts, "rows": rows}
        write_json(args.json, document)


if __name__ == "__main__":
    main()
