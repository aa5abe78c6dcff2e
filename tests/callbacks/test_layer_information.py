"""What is said of a layer while it is trained, and when a critic has left the possible."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import code_of, method_of

from ibsuite.callbacks.layer_information import EXCESS, check_information, layer_row
from ibsuite.data import Digits
from ibsuite.information import kernel_bounds
from ibsuite.interface import LayerReading, Refusal
from ibsuite.methods import LayerwiseIB
from ibsuite.record import read_csv


def rows(excess: list[float], layers: list[float]) -> list[dict[str, Any]]:
    return [{"information/layer": layer, EXCESS: value} for layer, value in zip(layers, excess, strict=True)]


def test_what_cannot_be_three_times_in_a_row_stops_the_run() -> None:
    with pytest.raises(Refusal, match=r"layer 2 .*above H\(Y\).*critic_optimizer"):
        check_information(rows([-1.0, 3.5, 9.0, 4.0], [1, 2, 2, 2]))


@pytest.mark.parametrize(
    ("excess", "layers"),
    [([3.5, 9.0], [2, 2]), ([3.5, 2.9, 9.0], [2, 2, 2]), ([3.5, 9.0, 4.0], [1, 2, 2])],
)
def test_less_does_not(excess: list[float], layers: list[float]) -> None:
    check_information(rows(excess, layers))
    check_information([{"label_bits": 3.0}] * 5)  # of a method without layers


class Known(LayerwiseIB):
    """Scores that are the same for every pair but for one number on the diagonal."""

    def read_layer(self, x: torch.Tensor, y: torch.Tensor) -> LayerReading:
        n, level = len(x), 2.0 if len(x) > 50 else 1.0
        same = torch.eye(n, dtype=torch.float64) * level
        return LayerReading(2, 0.5, x.flatten(1)[:, :3], same, 2 * same)


def test_a_row_has_both_samples_and_names_that_say_what_they_are() -> None:
    data = Digits(num_labels=100, batch_size=16)
    data.prepare_data()
    data.setup("fit")
    plain = method_of("layerwise")
    module = Known(plain.network)
    found = layer_row(module, data, torch.arange(60))
    assert found["information/layer"] == 2.0
    bit = 1 / torch.log(torch.tensor(2.0)).item()
    assert found["information/mi_yl_train_bits"] == pytest.approx(2.0 * bit)
    assert found["information/mi_yl_bits"] == pytest.approx(1.0 * bit)  # a plug-in: neither lower nor upper
    assert found["information/mi_xl_bits"] == pytest.approx(2.0 * bit)
    held_out = data.inputs(torch.arange(60, 100), torch.device("cpu")).flatten(1)[:, :3]
    bounds = kernel_bounds(held_out, 0.5)
    assert found["information/mi_xl_kernel_lower_bits"] == pytest.approx(bounds.lower_bits)
    assert found["information/mi_xl_kernel_upper_bits"] == pytest.approx(bounds.upper_bits)
    assert found[EXCESS] < 0
    alone = layer_row(module, data, torch.arange(100))  # nothing is held out
    assert "information/mi_yl_train_bits" in alone
    assert "information/mi_yl_bits" not in alone
    assert EXCESS not in alone
    assert layer_row(method_of("floats"), data, torch.arange(60)) == {}


def test_rows_of_a_run_name_the_layer_and_end_with_the_read_out(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibsuite.callbacks.offline.SHORTEST_STRETCH", 5)
    method = method_of("layerwise", beta=0.1)
    fit(code=code_of("layerwise", watched=6, validation_labels=40), method=method)
    along = [row for row in read_csv(tmp_path / "run" / "curve.csv") if row.get("epoch") is not None]
    layers = [row.get("information/layer") for row in along]
    assert layers[:2] == [1.0, 1.0]
    assert 2.0 in layers
    assert layers[-1] is None
    assert method.merged
    assert all(
        row["information/mi_xl_kernel_lower_bits"] >= 0 for row in along if row.get("information/layer")
    )
