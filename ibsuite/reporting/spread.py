"""Spread of one experiment over seeds and over orders of the labels, in bits, told apart."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from statistics import fmean, variance
from typing import Any

from rich.table import Table

from ibsuite.reporting.formats import MISSING, format_bits, mean_std
from ibsuite.reporting.runs import Run
from ibsuite.reporting.table import plain_table

ORDER_KEYS = ("data.init_args.order_seed", "data: order_seed", "data: order_sha256", "data: labels_sha256")
"""Keys of a recipe in which runs of the same labels in another order differ."""


def order_of(run: Run) -> int:
    """Seed of the order in which the run sent its labels."""
    return int(run.document["data"].get("order_seed") or 0)


def besides_order(run: Run) -> dict[str, Any]:
    """All that must agree between two runs that differ in seed and order alone.

    Hashes of the labels depend on their order; how often each class occurs does not.
    """
    kept = {key: value for key, value in run.recipe.items() if key not in ORDER_KEYS and value is not None}
    return {**kept, "class_frequency_bits": round(run.document["class_frequency_bits"], 6)}


def by_experiment(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs in groups: those of one experiment that differ in nothing but seed and order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([run.experiment, besides_order(run)], sort_keys=True, default=str)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def difference_besides_order(runs: Sequence[Run]) -> str | None:
    """What the runs differ in besides seed and order, in words; None where it is nothing."""
    first, *others = runs
    wanted = besides_order(first)
    for other in others:
        found = besides_order(other)
        for key in {**wanted, **found}:
            if wanted.get(key) != found.get(key):
                return f"{key}: {wanted.get(key)!r} in {first.name}, {found.get(key)!r} in {other.name}"
    return None


def spreads(values: Mapping[tuple[int, int], float]) -> dict[str, float | None]:
    """Standard deviations over seeds at a fixed order, and over orders at a fixed seed; None where unknown.

    Each is the root of the mean, over what is fixed, of the sample variances over what varies.

    Args:
        values: by (order, seed).
    """
    found: dict[str, float | None] = {}
    for name, fixed in (("std_over_seeds", 0), ("std_over_orders", 1)):
        groups: dict[int, list[float]] = {}
        for key, value in values.items():
            groups.setdefault(key[fixed], []).append(value)
        variances = [variance(group) for group in groups.values() if len(group) > 1]
        found[name] = fmean(variances) ** 0.5 if variances else None
    return found


def spread_tables(runs: Sequence[Run]) -> list[Table]:
    """For every experiment whose labels were sent in several orders: totals by order and seed, in bits."""
    return [_table(group) for group in by_experiment(runs) if len({order_of(run) for run in group}) > 1]


def _table(runs: Sequence[Run]) -> Table:
    totals = {(order_of(run), run.seed): float(run.document["total_bits"]) for run in runs}
    orders, seeds = (sorted({key[i] for key in totals}) for i in (0, 1))
    table = plain_table(f"{runs[0].experiment}: total by order and seed")
    table.add_column("order", no_wrap=True)
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right", no_wrap=True)
    table.add_column("mean ± over seeds", justify="right", no_wrap=True)
    for order in orders:
        row = [totals.get((order, seed)) for seed in seeds]
        known = [value for value in row if value is not None]
        cells = (MISSING if value is None else format_bits(value) for value in row)
        table.add_row(str(order), *cells, format_bits(*mean_std(known)))
    columns = [[totals[order, seed] for order in orders if (order, seed) in totals] for seed in seeds]
    means = [format_bits(*mean_std(column)) for column in columns]
    table.add_row("± over orders", *means, format_bits(*mean_std(list(totals.values()))))
    spread = spreads(totals)
    said = {"over seeds at a fixed order": "std_over_seeds", "over orders at a fixed seed": "std_over_orders"}
    parts = [f"{words}: {format_bits(spread[name])}" for words, name in said.items()]
    table.caption, table.caption_justify = f"standard deviations: {'; '.join(parts)}", "left"
    return table


def over_grid(line: str, seeds: Sequence[int], orders: Sequence[int]) -> str:
    """One shell line that repeats runs over seeds and orders: two loops where every pair was run.

    Examples:
        >>> over_grid("fit", [0, 1], [3, 4])
        'fit --data.order_seed=3 --seed_everything=0; fit --data.order_seed=4 --seed_everything=1'
    """
    words = [word for word in shlex.split(line) if not word.startswith("--data.order_seed=")]
    line, pairs = shlex.join(words), list(zip(orders, seeds, strict=True))
    some, others = sorted(set(orders)), sorted(set(seeds))
    if sorted(pairs) != list(product(some, others)):
        return "; ".join(
            f"{line} --data.order_seed={order} --seed_everything={seed}" for order, seed in pairs
        )
    first, second = (" ".join(map(str, each)) for each in (some, others))
    repeated = f"{line} --data.order_seed=$order --seed_everything=$seed"
    return f"for order in {first}; do for seed in {second}; do {repeated}; done; done"
