"""Network compression: the grid of rates, its ends, and fine-tuning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import code_of, document, method_of

from ibsuite.callbacks import NetworkCompressionCode
from ibsuite.callbacks.sent import sent_tensors
from ibsuite.codes import codelength_bits
from ibsuite.data import Digits
from ibsuite.interface import Quantised, Refusal
from ibsuite.record import read_csv

ENOUGH = {"min_steps": 200, "max_steps": 200}


def rows_of(run: Path) -> list[dict[str, Any]]:
    return read_csv(run / "curve.csv")


def test_every_sparsity_meets_every_step_and_codebook() -> None:
    code = NetworkCompressionCode(sparsities=[0.0, 0.5, 0.9], steps=[0.5, 1.0], levels=[3, 5])
    rates = [tuple(rate.values()) for rate in code.rates.settings()]
    assert len(rates) == len(set(rates)) == 3 * (2 + 2)
    assert (0.5, "step", 1.0) in rates
    assert (0.9, "levels", 5) in rates
    assert len(NetworkCompressionCode(levels=[3], steps=[]).rates.settings()) == 4


def test_a_rate_is_what_it_says() -> None:
    method = method_of("compressed")
    code = NetworkCompressionCode()
    trained = sent_tensors(method)
    weights = [name for name, value in trained.items() if value.ndim > 1]
    magnitudes = torch.cat([trained[name].abs().flatten() for name in weights]).sort().values
    for sparsity, kind, rate in ((0.75, "step", 0.5), (0.0, "levels", 3), (0.75, "levels", 3)):
        message = code.rates.message(trained, {"sparsity": sparsity, "quantiser": kind, "rate": rate})
        assert all(isinstance(sent, Quantised) for sent in message.values())
        for name in weights:
            sent, left = message[name], trained[name]
            if kind == "levels":
                assert len(sent.values().unique()) <= 3
            else:
                left = left[left.abs() >= magnitudes[round(sparsity * len(magnitudes))]]
                assert sent.step == pytest.approx(rate * float(left.std(correction=0)), rel=2**-8)  # bfloat16
                assert (sent.values() - trained[name])[sent.symbols != 0].abs().max() <= sent.step / 2 + 1e-6
        zeros = sum(int((message[name].symbols == 0).sum()) for name in weights)
        assert zeros >= round(sparsity * sum(trained[name].numel() for name in weights))


def test_a_fine_grid_and_no_pruning_are_the_float_network(fit: Callable[..., Any], tmp_path: Path) -> None:
    settings = {"sparsities": [0.0], "steps": [1e-4], "levels": [], "temperatures": [1.0], "watched": 1}
    fit(code=code_of("compressed", **settings), method=method_of("compressed"))
    along, fine = rows_of(tmp_path / "run")
    # Biases keep a grid of an eighth of their standard deviation.
    assert fine["label_bits"] == pytest.approx(along["label_bits"], rel=0.02)
    coarse = {**settings, "steps": [2.0]}
    fit(code=code_of("compressed", **coarse), method=method_of("compressed"), folder="coarse")
    _, rough = rows_of(tmp_path / "coarse")
    assert abs(rough["label_bits"] / along["label_bits"] - 1) > 0.1
    assert rough["model_bits"] < fine["model_bits"] / 4


def test_the_shortest_total_is_charged_and_not_the_shortest_model(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    settings = {"sparsities": [0.0, 0.5, 0.99], "steps": [0.1, 1.0], "levels": [2], **ENOUGH}
    data = Digits(num_labels=1600, batch_size=64)
    code = fit(data, code_of("compressed", **settings), method_of("compressed"))
    found, rows = document(tmp_path / "run"), rows_of(tmp_path / "run")
    assert len(rows) == 9
    best = min(rows, key=lambda row: row["total_bits"])
    without_choices = found["total_bits"] - found["charges"]["choices"]
    assert without_choices == pytest.approx(best["total_bits"], rel=1e-12)
    assert best["model_bits"] > min(row["model_bits"] for row in rows)
    assert best["label_bits"] > min(row["label_bits"] for row in rows)
    for row in rows:
        assert row["total_bits"] == pytest.approx(row["model_bits"] + row["label_bits"], rel=1e-12)
    # The method is left as it was described: for test figures, and as the final checkpoint.
    method = code.sequence.trainer.lightning_module
    logits = code.price(code.sequence.trainer, method, code.sequence)
    assert codelength_bits(logits, data.labels, best["temperature"]) == found["charges"]["labels"]


@pytest.mark.parametrize("quantiser", [{"steps": [1.0], "levels": []}, {"steps": [], "levels": [3]}])
def test_fine_tuning_shortens_the_description(
    fit: Callable[..., Any], tmp_path: Path, quantiser: dict[str, Any]
) -> None:
    """On 400 digits, seed 0: a claim about this run, not about every run."""
    settings = {"sparsities": [0.5, 0.7], **quantiser, **ENOUGH}
    for kind in ("compressed", "finetuned"):
        tuning = {"finetune_epochs": 8} if kind == "finetuned" else {}
        data = Digits(num_labels=400, batch_size=32)
        code = fit(data, code_of(kind, **settings, **tuning), method_of(kind), folder=kind)
    plain, tuned = (document(tmp_path / kind) for kind in ("compressed", "finetuned"))
    assert tuned["total_bits"] < plain["total_bits"] - 50
    assert tuned["charges"]["choices"] == plain["charges"]["choices"]
    rows = rows_of(tmp_path / "finetuned")
    assert rows[:-1] == rows_of(tmp_path / "compressed")  # the same training, the same rates tried
    chosen = min(rows[:-1], key=lambda row: row["total_bits"])
    assert all(rows[-1][key] == chosen[key] for key in ("sparsity", "quantiser", "rate"))
    assert rows[-1]["label_bits"] < chosen["label_bits"]
    # Steps of the fine-tuning are there, and count.
    assert code.stages == [("training", 200), ("fine-tuning", 100)]
    assert tuned["cost"]["optimiser_steps"] == 300
    assert code.status().done == code.status().total == 300


def test_fine_tuning_learns_at_its_own_rate(fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noting(optimizer: Any, *args: Any, **settings: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **settings)

    monkeypatch.setattr(torch.optim.Adam, "step", noting)
    fit(code=code_of("finetuned"), method=method_of("finetuned", warmup=0.0))
    assert len(rates) == 30 + 12
    assert rates[0] == pytest.approx(0.02)
    assert rates[30] == pytest.approx(0.5 * 0.02)
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 0.1 * rates[30]


def test_bad_settings() -> None:
    for settings, said in (
        ({"sparsities": []}, "code.sparsities must lie in"),
        ({"sparsities": [1.0]}, "code.sparsities must lie in"),
        ({"steps": [-0.5]}, "code.steps must be positive"),
        ({"steps": [], "levels": []}, "code.steps must be positive, or code.levels given"),
        ({"levels": [1]}, r"a codebook needs at least two entries; code.levels is \[1\]"),
        ({"finetune_epochs": -1}, "code.finetune_epochs must be at least 0"),
        ({"finetune_rate": 0}, "code.finetune_rate positive"),
        ({"temperatures": [-1.0]}, "code.temperatures must be positive"),
    ):
        with pytest.raises(Refusal, match=said):
            code_of("compressed", **settings)
