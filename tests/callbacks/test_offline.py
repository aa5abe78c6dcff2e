"""What all offline codes share: plans, progress, dry runs, and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import KINDS, code_of, document, method_of
from small_runs import small_code

from ibsuite.callbacks import offline
from ibsuite.callbacks.estimate import estimate
from ibsuite.data import Digits
from ibsuite.fit import main
from ibsuite.interface import Coding, Refusal, Stretch


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_of_every_code(kind: str) -> None:
    data, code, method = Digits(num_labels=100, batch_size=16), code_of(kind, views=0), method_of(kind)
    assert isinstance(code, Coding)
    found = estimate(method, data, code)
    assert found.seconds > 0
    steps = [row[3] for row in found.ahead.rows]
    assert steps == ([30, 12] if "finetuned" in kind else [30])
    assert [row[1] for row in found.ahead.rows] == [100] * len(steps)
    readings = {"floats": 3, "quantised": 1, "compressed": 4, "finetuned": 5, "subspace": 2}
    readings |= {"pruned": 4, "pruned_finetuned": 4}
    assert found.ahead.priced == 100 * readings.get(kind, 3)
    assert found.ahead.predictors == (3 if kind == "variational" else 1)
    assert found.parameters == sum(p.numel() for p in method.parameters())


def test_every_stretch_is_new_and_whole_passes(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "SHORTEST_STRETCH", 6)
    stretches: list[Stretch] = []
    next_stretch = offline.OfflineCode._next_stretch

    def noting(code: offline.OfflineCode) -> Stretch:
        stretches.append(next_stretch(code))
        return stretches[-1]

    monkeypatch.setattr(offline.OfflineCode, "_next_stretch", noting)
    code = fit(code=code_of("finetuned"), method=method_of("finetuned"))
    assert {stretch.steps for stretch in stretches} == {6}
    assert len({stretch.seed for stretch in stretches}) == 7  # five of training, two of fine-tuning
    assert all(torch.equal(stretch.rows, torch.arange(100)) for stretch in stretches)
    assert code.finished


def test_progress_says_what_has_been_measured_along_the_training(fit: Callable[..., Any]) -> None:
    code = fit(code=code_of("finetuned", watched=1), method=method_of("finetuned"))
    status = code.status()
    assert (status.done, status.total) == (42, 42)
    (along,) = [row for row in code.curve if "epoch" in row]
    assert status.text == f"fine-tuning · 100 labels · label {along['label_bits']:.0f} bit"
    quantised = fit(code=code_of("quantised", watched=1), method=method_of("quantised"), folder="b")
    assert "labels · total " in quantised.status().text


def test_a_class_that_does_not_occur_is_said_and_no_more(fit: Callable[..., Any], tmp_path: Path) -> None:
    class NoNine(Digits):
        def _randomised(self, y: torch.Tensor) -> torch.Tensor:
            return y.clamp(max=8)

    with pytest.warns(UserWarning, match="class 9 does not occur among the labels"):
        fit(NoNine(num_labels=100, batch_size=16), code_of("floats"), method_of("floats"))
    assert document(tmp_path / "run")["data"]["num_classes"] == 10


@pytest.mark.parametrize("kind", ["variational", "subspace", "quantised", "deep_vib"])
def test_the_prequential_code_takes_the_other_methods(fit: Callable[..., Any], kind: str) -> None:
    """They are classifiers: means of the weights, a subspace, rounded weights, mean predictions."""
    one, two = (
        fit(code=small_code(min_steps=30, max_steps=30), method=method_of(kind), folder=str(i))
        for i in range(2)
    )
    assert one.priced.predictions.total_bits == two.priced.predictions.total_bits < 100 * 3.4


PAIRS = {
    ("compressed", "variational"): None,
    ("variational", "cross entropy"): "needs a method with a distribution over weights",
    ("subspace", "cross entropy"): "needs a method that trains coordinates",
    ("quantised", "cross entropy"): "needs a method that trains quantised weights",
    ("floats", "quantised"): "quantises its weights itself",
    ("compressed", "quantised"): "quantises its weights itself",
}


@pytest.mark.parametrize("pair", PAIRS)
def test_methods_that_a_code_cannot_describe_are_refused(
    fit: Callable[..., Any], tmp_path: Path, pair: tuple[str, str]
) -> None:
    code, method = pair
    said = PAIRS[pair]
    if said is None:  # means and scales are parameters as any others
        fit(code=code_of(code), method=method_of(method))
        return
    with pytest.raises(Refusal, match=said) as refused:
        fit(code=code_of(code), method=method_of(method))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "codelength.json").exists()


COMMANDS = {
    "--config=variational_digits --code.draws=1": "code.draws must be at least 2, for a standard error",
    "--config=network_compression_digits --code.levels=[1]": "a codebook needs at least two entries",
    "--config=network_compression_digits --code.steps=[-1]": "code.steps must be positive",
    "--config=two_part_digits --code.formats=[float8]": "code.formats",
    "--config=two_part_digits --code.views=2": "data.view_augment is null",
    "--config=variational_digits --model=CrossEntropy --model.network=LeNet --model.network.padding=2": (
        "the variational code needs a method with a distribution over weights"
    ),
}


@pytest.mark.parametrize("args", COMMANDS)
def test_refused_in_one_sentence(args: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*args.split(), f"--out={tmp_path}", "--logger=null", "--trainer.accelerator=cpu"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert COMMANDS[args] in said[0]
    assert not list(tmp_path.rglob("*.ckpt"))
