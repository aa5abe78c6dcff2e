"""The search for the least dimension: against known steps, and on digits through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from ibsuite.intrinsic_dimension import least_dimension, main
from ibsuite.record import read_csv

SIZE = 1000


def search(step: int, start: int, tolerance: float = 0.05) -> tuple[int | None, list[int]]:
    """Accuracy 0.95 from dimension ``step`` on, 0.5 below: what is found, and what was tried."""
    tried: list[int] = []

    def accuracy(dimension: int) -> float:
        tried.append(dimension)
        return 0.95 if dimension >= step else 0.5

    return least_dimension(accuracy, 0.9, start, SIZE, 1.25, tolerance), tried


@pytest.mark.parametrize("start", [1, 2, 30, 333, 1000, 5000])
@pytest.mark.parametrize("step", [1, 2, 3, 10, 29, 290, 786, 999, 1000])
def test_a_step_is_found_to_the_tolerance(step: int, start: int) -> None:
    found, tried = search(step, start)
    assert found is not None
    assert step <= found
    failed = [dimension for dimension in tried if dimension < step]
    assert found == 1 or max(failed) + 1 >= found or max(failed) * 1.05 >= found
    assert found <= 1.05 * step + 1
    assert len(set(tried)) == len(tried)  # nothing is trained twice
    assert all(1 <= dimension <= SIZE for dimension in tried)
    assert search(step, start, tolerance=0)[0] == step


def test_few_trainings_suffice_from_a_good_guess() -> None:
    assert len(search(290, 300)[1]) <= 5


def test_what_no_subspace_reaches_is_not_found() -> None:
    found, tried = search(SIZE + 1, 400)
    assert found is None
    assert tried[-1] == SIZE


QUICK = ["--config", "method/subspace", "--data.num_labels=600", "--model.network.hidden=[32]", "--epochs=12",
         "--trainer.accelerator=cpu"]  # fmt: skip


def test_digits(tmp_path: Path, capsys: Any) -> None:
    options = [
        "--accuracy=0.9",
        "--baseline=0.9",
        "--seeds",
        "0",
        "1",
        "--tolerance=0.2",
        f"--out={tmp_path}",
    ]
    assert main([*QUICK, *options]) == 0
    name = "Digits-MLP-2410-sparse"
    found = json.loads((tmp_path / "intrinsic_dimension" / f"{name}.json").read_text())
    rows = read_csv(tmp_path / "intrinsic_dimension" / f"{name}.csv")
    assert [{k: row[k] for k in found["tried"][0]} for row in rows] == found["tried"]
    assert found["size"] == 64 * 32 + 32 + 32 * 10 + 10
    assert found["validation_labels"] == 100
    for seed, least in zip([0, 1], found["dimension"]["values"], strict=True):
        own = [row for row in rows if row["seed"] == seed]
        assert next(row for row in own if row["dimension"] == least)["accuracy"] >= 0.81
        assert all(row["accuracy"] < 0.81 for row in own if least / 1.21 <= row["dimension"] < least)
    assert found["dimension"]["mean"] == sum(found["dimension"]["values"]) / 2
    lines = capsys.readouterr().out.splitlines()
    assert sum(" d = " in line for line in lines) == len(rows)
    assert main([*QUICK, *options]) == 2  # it is there
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--config", "method/mlp"], "the search needs --model=Subspace"),
        ([*QUICK, "--validation=600"], "--validation 600 leaves nothing of 600 labels"),
        ([*QUICK, "--model.dimension=2411"], "from 1 to 2410 dimensions, not 2411"),
        ([*QUICK, "--validation=-1"], "--validation -1 leaves nothing of 600 labels"),
        ([*QUICK, "--accuracy=1.5"], "--accuracy must lie in (0, 1], got 1.5"),
        ([*QUICK, "--baseline=0"], "--baseline must lie in (0, 1], got 0.0"),
        ([*QUICK, "--growth=1.0"], "--growth must be more than 1, got 1.0"),
        ([*QUICK, "--epochs=0"], "--epochs must be positive, got 0.0"),
        ([*QUICK, "--model.dimensoin=3"], "unknown option 'model.dimensoin'; did you mean"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_sentence(
    options: list[str], told: str, tmp_path: Path, capsys: Any
) -> None:
    assert main([*options, f"--out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
