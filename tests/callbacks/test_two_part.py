"""The two-part code: what weights of each format cost, and which format is charged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from offline_runs import code_of, document, method_of

from ibsuite.data import Digits
from ibsuite.interface import Refusal
from ibsuite.nn import ConvNet
from ibsuite.record import read_csv

BITS = {"float32": 32, "float16": 16, "bfloat16": 16}


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_parameter_and_buffer_costs_its_format(
    fit: Callable[..., Any], tmp_path: Path, name: str, batch_norm: bool
) -> None:
    network = ConvNet((1, 8, 8), 10, widths=(4,)) if batch_norm else None
    method = method_of("floats", network)
    fit(code=code_of("floats", formats=[name], temperatures=[1.0]), method=method)
    charges = document(tmp_path / "run")["charges"]
    weights = sum(p.numel() for p in method.parameters())
    assert charges["weights"] == BITS[name] * weights
    buffers = sum(b.numel() for b in method.buffers() if b.is_floating_point())
    assert (buffers > 0) == batch_norm
    assert charges["buffers"] == pytest.approx(BITS[name] * buffers, abs=16 if batch_norm else 0)
    assert charges["mask"] == 0
    assert charges["codebook"] + charges["framing"] < 64 + 2 * len(method.state_dict())
    assert "choices" not in charges


def test_the_shortest_of_all_formats_is_charged(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(code=code_of("floats"), method=method_of("floats"))
    found, rows = document(tmp_path / "run"), read_csv(tmp_path / "run" / "curve.csv")
    assert [row["format"] for row in rows] == list(BITS)
    choices = found["charges"]["choices"]
    assert found["total_bits"] - choices == pytest.approx(min(row["total_bits"] for row in rows), rel=1e-12)
    assert found["compared"] == {
        f"{row['format']}_bits": pytest.approx(row["total_bits"] + choices) for row in rows
    }
    assert rows[0]["model_bits"] > 1.9 * rows[1]["model_bits"]


def test_weights_trained_on_their_length_are_below_uniform(fit: Callable[..., Any], tmp_path: Path) -> None:
    """On 400 digits (seed 0), where 16 bits for each of 610 weights alone are seven times as long."""
    data, steps = Digits(num_labels=400, batch_size=32), {"min_steps": 400, "max_steps": 400}
    fit(data, code_of("quantised", **steps), method_of("quantised"))
    found = document(tmp_path / "run")
    assert found["total_bits"] < 0.8 * found["uniform_bits"] < 0.8 * 16 * 610 / 7


class Enlarge(L.Callback):
    """Puts a weight beyond the range of float16 after the last step."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == 30:
            next(pl_module.parameters()).data[0, 0] = 1e6


@pytest.mark.parametrize("kind", ["floats", "compressed"])
def test_a_weight_beyond_float16_is_sent_as_its_greatest_number(
    fit: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    """A finished training is not lost for one format that suits it badly."""
    settings = {"levels": []} if kind == "compressed" else {}
    fit(code=code_of(kind, **settings), method=method_of(kind), callbacks=(Enlarge(),))
    assert document(tmp_path / "run")["total_bits"] > 0


def test_what_the_tensors_refuse_is_a_refusal(fit: Callable[..., Any]) -> None:
    settings = {"levels": [4], "steps": []}
    with pytest.raises(Refusal, match=r"cannot be sent: A weight is too large for a codebook") as refused:
        fit(code=code_of("compressed", **settings), method=method_of("compressed"), callbacks=(Enlarge(),))
    assert "\n" not in str(refused.value)


def test_bad_settings() -> None:
    for settings, said in (
        ({"formats": ["float8"]}, "float32, float16, bfloat16, quantised; got"),
        ({"formats": []}, "code.formats must name"),
        ({"temperatures": []}, "code.temperatures must be positive"),
        ({"temperatures": [0.0]}, "code.temperatures must be positive"),
        ({"settings_compared": 0}, "code.settings_compared must be at least 1"),
        ({"views": -1}, "code.views and code.watched must be at least 0"),
        ({"watched": -1}, "code.views and code.watched must be at least 0"),
        ({"epochs": 0}, "code.epochs must be positive"),
    ):
        with pytest.raises(Refusal, match=said.replace(".", r"\.")):
            code_of("floats", **settings)
