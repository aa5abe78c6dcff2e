"""Spread over seeds and over orders, told apart, against numbers that were made with a known spread."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ibsuite.interface import Refusal
from ibsuite.report import main as report
from ibsuite.reporting import load_run, publish
from ibsuite.reporting.publish import command
from ibsuite.reporting.runs import by_seed
from ibsuite.reporting.spread import by_experiment, spread_tables, spreads


def ordered(make_run: Any, order: int, seed: int, bits: float, **changes: Any) -> Path:
    data = {"name": "toy data", "num_labels": 8, "num_classes": 4, "order_seed": order}
    data |= {"order_sha256": f"ab{order}", "labels_sha256": f"cd{order}"}
    config = f"lr: 0.1\ndata: {{init_args: {{order_seed: {order}}}}}"
    charges = {"first_block": 4.0, "labels": bits - 4.0}
    run: Path = make_run(seed, config=config, data=data, charges=charges, **changes)
    text = (run / "config.yaml").read_text().replace("data: {root: /tmp/0}\n", "")
    (run / "config.yaml").write_text(text.replace(f"data: {{root: /tmp/{seed}}}\n", ""))
    return run


@pytest.fixture
def grid(make_run: Any) -> list[Path]:
    """bits = 8 + 3 order + seed: over orders thrice as far apart as over seeds."""
    return [ordered(make_run, order, seed, 8.0 + 3 * order + seed) for order in (0, 1) for seed in (0, 1, 2)]


def test_what_comes_from_seeds_and_what_from_orders() -> None:
    draws = np.random.default_rng(0)
    orders, seeds = 5 * draws.standard_normal(400), draws.standard_normal((400, 400))
    values = {(o, s): orders[o] + seeds[o, s] for o in range(400) for s in range(400)}
    found = spreads(values)
    assert found["std_over_seeds"] == pytest.approx(1.0, rel=0.02)
    assert found["std_over_orders"] == pytest.approx(math.sqrt(26), rel=0.1)
    alone = spreads({(0, 0): 1.0, (0, 1): 3.0})
    assert alone == {"std_over_seeds": pytest.approx(math.sqrt(2)), "std_over_orders": None}


def test_one_experiment_in_several_orders(grid: list[Path], make_run: Any) -> None:
    runs = [load_run(path) for path in grid]
    assert [len(group) for group in by_seed(runs)] == [3, 3]
    assert [len(group) for group in by_experiment(runs)] == [6]
    other = load_run(ordered(make_run, 2, 0, 9.0, class_frequency_bits=18.0))  # other labels
    assert sorted(len(group) for group in by_experiment([*runs, other])) == [1, 6]
    assert spread_tables(runs[:3]) == []


def test_the_table_has_a_cell_for_every_run_and_both_spreads(
    grid: list[Path], capsys: pytest.CaptureFixture
) -> None:
    console = Console(width=120)
    (table,) = spread_tables([load_run(path) for path in grid[:-1]])  # one is missing
    console.print(table)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    (first,) = [line for line in lines if line.startswith("0 ")]
    assert all(number in first for number in ("8.0 bit", "9.0 bit", "10.0 bit", "9.0 ± 1.0 bit"))
    (second,) = [line for line in lines if line.startswith("1 ")]
    assert "–" in second
    assert "over seeds at a fixed order: 0.9 bit; over orders at a fixed seed: 2.1 bit" in " ".join(
        printed.split()
    )
    assert report([str(grid[0].parent)]) == 0
    assert "total by order and seed" in capsys.readouterr().out


def test_several_orders_are_published_when_asked(grid: list[Path], tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"seed 0 occurs twice; publish one run per seed$"):
        publish(grid, "toy", tmp_path)
    with pytest.raises(Refusal, match="differ in more than the seed"):
        publish([grid[0], grid[4]], "toy", tmp_path)
    document = json.loads(publish(grid[::-1], "toy", tmp_path, orders=True).read_text())
    assert document["seeds"] == [0, 1, 2] * 2
    assert document["orders"] == [0] * 3 + [1] * 3
    total = document["figures"]["total_bits"]
    assert total["values"] == [8, 9, 10, 11, 12, 13]
    assert total["std_over_seeds"] == pytest.approx(1.0)
    assert total["std_over_orders"] == pytest.approx(3 / math.sqrt(2))
    assert document["command"].startswith("for order in 0 1; do for seed in 0 1 2; do python -m ibsuite.fit")
    twice = [*grid, grid[0]]
    with pytest.raises(Refusal, match="one run per seed and order"):
        publish(twice, "toy", tmp_path, orders=True)


def test_orders_do_not_excuse_other_differences(grid: list[Path], make_run: Any, tmp_path: Path) -> None:
    other = ordered(make_run, 2, 0, 9.0, git_commit="def")
    with pytest.raises(Refusal, match="git_commit"):
        publish([*grid, other], "toy", tmp_path, orders=True)
    assert "orders" not in json.loads(publish(grid[:3], "toy", tmp_path).read_text())


def test_runs_off_the_grid_are_repeated_one_by_one() -> None:
    said = command(["python -m ibsuite.fit --data.order_seed=4 --x=1"] * 2, [0, 1], [4, 5])
    assert said == (
        "python -m ibsuite.fit --x=1 --data.order_seed=4 --seed_everything=0; "
        "python -m ibsuite.fit --x=1 --data.order_seed=5 --seed_everything=1"
    )
