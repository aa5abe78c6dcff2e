"""What is said of a layer while it is trained, and when a critic has left the possible."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import code_of, method_of

from ibsuite.callbacks.layer_information import layer_row
from ibsuite.data import Digits
from ibsuite.information import kernel_bounds
from ibsuite.interface import LayerReading, Refusal
from ibsuite.methods import LayerwiseIB
from ibsuite.record import read_csv


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
    # Labels: the own one is among all pairs. Inputs: pairs are of different inputs, where the scores are 0.
    value = {n: f - math.log((math.exp(f) + n - 1) / n) for n, f in ((60, 2.0), (40, 1.0))}
    assert found["information/mi_yl_train_bits"] == pytest.approx(value[60] / math.log(2))
    assert found["information/mi_yl_bits"] == pytest.approx(value[40] / math.log(2))
    assert found["information/mi_xl_bits"] == pytest.approx(2.0 / math.log(2))  # a plug-in: no bound
    held_out = data.inputs(torch.arange(60, 100), torch.device("cpu")).flatten(1)[:, :3]
    bounds = kernel_bounds(held_out, 0.5)
    assert found["information/mi_xl_kernel_lower_bits"] == pytest.approx(bounds.lower_bits)
    assert found["information/mi_xl_kernel_upper_bits"] == pytest.approx(bounds.upper_bits)
    alone = layer_row(module, data, torch.arange(100))  # nothing is held out
    assert "information/mi_yl_train_bits" in alone
    assert "information/mi_yl_bits" not in alone
    assert layer_row(method_of("floats"), data, torch.arange(60)) == {}


def test_perfect_scores_give_the_entropy_of_the_labels_and_no_more() -> None:
    data = Digits(num_labels=100, batch_size=16)
    data.prepare_data()
    data.setup("fit")

    class Perfect(LayerwiseIB):
        def read_layer(self, x: torch.Tensor, y: torch.Tensor) -> LayerReading:
            scores = torch.where(y[:, None] == y, 0.0, -1e3).double()
            return LayerReading(1, 0.5, x.flatten(1)[:, :3], scores, None)

    found = layer_row(Perfect(method_of("layerwise").network), data, torch.arange(60))
    for name, rows in (("mi_yl_train_bits", slice(60)), ("mi_yl_bits", slice(60, None))):
        share = torch.bincount(data.labels[rows]).double() / len(data.labels[rows])
        # All labels of the other classes are told apart, those of the own one are not.
        truth = -(share * share.square().sum().log2()).sum()
        assert found[f"information/{name}"] == pytest.approx(float(truth), abs=1e-6)


def test_scores_that_are_not_finite_stop_the_run() -> None:
    data = Digits(num_labels=100, batch_size=16)
    data.prepare_data()
    data.setup("fit")

    class Broken(LayerwiseIB):
        def read_layer(self, x: torch.Tensor, y: torch.Tensor) -> LayerReading:
            return LayerReading(2, 0.5, x.flatten(1)[:, :3], torch.full((len(x), len(x)), torch.nan), None)

    with pytest.raises(Refusal, match=r"mi_yl_train_bits of layer 2 is not finite.*critic_optimizer"):
        layer_row(Broken(method_of("layerwise").network), data, torch.arange(60))


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
