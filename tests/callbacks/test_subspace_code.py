"""The subspace code: z is sent and nothing else, at the precision that makes the total shortest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from offline_runs import code_of, document, method_of

from ibsuite.callbacks import SubspaceCode
from ibsuite.callbacks.sent import sent_tensors
from ibsuite.interface import Refusal
from ibsuite.methods import Subspace
from ibsuite.nn import MLP
from ibsuite.record import read_csv


def test_every_precision_is_tried_and_nothing_is_pruned() -> None:
    rates = SubspaceCode(steps=[0.5, 1.0], levels=[3]).rates.settings()
    assert [(rate["quantiser"], rate["rate"]) for rate in rates] == [
        ("step", 0.5),
        ("step", 1.0),
        ("levels", 3),
    ]
    assert {rate["sparsity"] for rate in rates} == {0.0}


def test_only_coordinates_are_sent(fit: Callable[..., Any], tmp_path: Path) -> None:
    method = method_of("subspace")
    assert list(sent_tensors(method)) == ["z"]
    fit(code=code_of("subspace", temperatures=[1.0], watched=1), method=method)
    found = document(tmp_path / "run")
    along, *_ = read_csv(tmp_path / "run" / "curve.csv")
    # As the paper counts, with the labels: 32 bits for each of 40 coordinates, kind, length and check.
    floats = found["compared"]["float32_bits"] - found["charges"]["choices"]
    assert floats - along["label_bits"] == pytest.approx(32 * 40, abs=48)
    assert floats - along["label_bits"] > 32 * 40
    assert found["charges"]["weights"] < 8 * 40


def test_fine_tuned_coordinates(fit: Callable[..., Any], tmp_path: Path) -> None:
    settings = {"finetune_epochs": 4, "steps": [1.0], "levels": []}
    code = fit(code=code_of("subspace", **settings), method=method_of("subspace"))
    tried, tuned = read_csv(tmp_path / "run" / "curve.csv")
    assert tuned["label_bits"] < tried["label_bits"]
    assert document(tmp_path / "run")["charges"]["choices"] == 1.0  # two temperatures
    assert code.finished


def test_more_coordinates_than_weights_are_refused() -> None:
    with pytest.raises(Refusal, match=r"dimension|coordinates") as refused:
        Subspace(MLP((4,), 3, (6,)), dimension=52)
    assert "\n" not in str(refused.value)
    assert Subspace(MLP((4,), 3, (6,)), dimension=51).dimension == 51  # 4 x 6 + 6 + 6 x 3 + 3
