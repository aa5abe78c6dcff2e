"""``python -m ibsuite.robustness``: the network as it was described, on images that it held out."""

import json
import math
from pathlib import Path

import pytest
import torch

from ibsuite.fit import main as fit
from ibsuite.record import read_bottleneck, read_codelength, read_robustness
from ibsuite.restore import finished_run
from ibsuite.robustness import main

SHORT = ["--code.min_steps=60", "--code.max_steps=60", "--code.watched=0", "--logger=null",
         "--data.num_labels=200", "--trainer.enable_progress_bar=false",
         "--trainer.accelerator=cpu"]  # fmt: skip
FEW = ["--linf", "0", "0.1", "--l2", "0", "0.5", "--steps", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    given = ["--config", "deepvib_digits", "--code.validation_labels=60", f"--out={out}", *SHORT]
    assert fit(given) == 0
    (folder,) = (out / "deepvib_digits").iterdir()
    return folder


def test_a_run_whose_read_out_was_merged_is_loaded_as_it_ended(tmp_path: Path) -> None:
    given = ["--config", "layerwise_digits", "--code.validation_labels=60", f"--out={tmp_path}", *SHORT]
    assert fit(given) == 0
    (folder,) = (tmp_path / "layerwise_digits").iterdir()
    method, data, _ = finished_run(folder)
    assert method.merged
    log2_probs = method.logits(data.inputs(torch.arange(200), method.device)).double().log_softmax(1)
    nats = -log2_probs[torch.arange(200), data.labels.to(method.device)].sum()
    sent = read_codelength(folder)["charges"]["labels"]
    assert float(nats.detach()) / math.log(2) == pytest.approx(sent, rel=1e-5)


def test_a_finished_run_is_attacked_where_it_was_held_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(run), *FEW, "--figure", str(tmp_path / "new" / "r.png")]) == 0
    found = read_robustness(run)
    assert (found["split"], found["inputs"], found["beta"]) == ("validation", 60, 0.003)
    assert list(found["attacks"]) == ["fgsm_linf", "pgd_linf", "fgsm_l2", "pgd_l2"]
    clean = read_bottleneck(run)["validation"]["error_percent"]
    for attack in found["attacks"].values():
        assert attack["error_percent"][0] == pytest.approx(clean)
        assert attack["error_percent"][1] > clean
    for norm in ("linf", "l2"):  # three steps find at least as much as one, on the whole
        assert found["attacks"][f"pgd_{norm}"]["error_percent"][1] > 0
    assert (tmp_path / "new" / "r.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"{run}, β = 0.003: 60 images (validation)" in printed
    assert main([str(run), *FEW, "--split=train", "--inputs=20"]) == 0
    again = read_robustness(run)
    assert (again["split"], again["inputs"]) == ("train", 20)


def test_the_network_that_is_loaded_is_the_one_that_was_described(run: Path) -> None:
    method, data, code = finished_run(run)
    rows = torch.arange(140, 200)
    with torch.no_grad():
        wrong = method.logits(data.inputs(rows, method.device)).argmax(1).cpu() != data.labels[rows]
    error = 100 * float(wrong.double().mean())
    assert error == pytest.approx(read_bottleneck(run)["validation"]["error_percent"])
    assert code.validation_labels == 60
    assert not method.training


def test_carlini_and_wagner(run: Path) -> None:
    pytest.importorskip("foolbox")
    given = ["--inputs=30", "--carlini_wagner=4", "--steps_cw=60"]
    assert main([str(run), *FEW, *given]) == 0
    found = read_robustness(run)["carlini_wagner_l2"]
    assert found["untargeted"]["inputs"] <= 4
    assert found["untargeted"]["success_percent"] == 100
    assert 0 < found["untargeted"]["l2_mean"] < 8
    json.dumps(found, allow_nan=False)


def test_what_cannot_be_honoured_is_said_in_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def said(*arguments: str) -> str:
        assert main([*arguments, *FEW]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "Digits has no test split; use --split=validation" in said(str(run), "--split=test")
    assert "--figure writes PNG" in said(str(run), "--figure", str(tmp_path / "r.pdf"))
    assert "--inputs must be 1 or more" in said(str(run), "--inputs=0")
    assert "holds no run" in said(str(tmp_path))
    assert main([str(run), "--linf", "-1"]) == 2
    assert "epsilon must not be negative" in capsys.readouterr().err
    final = run / "checkpoints" / "final.ckpt"
    away = final.rename(final.with_name("away"))
    try:
        assert "has no checkpoints/final.ckpt" in said(str(run))
    finally:
        away.rename(final)


def test_a_run_that_held_nothing_out_is_attacked_where_it_was_trained_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ["--config", "float_two_part_digits", f"--out={tmp_path}", *SHORT]
    assert fit(given) == 0
    (folder,) = (tmp_path / "float_two_part_digits").iterdir()
    capsys.readouterr()
    assert main([str(folder), *FEW]) == 2
    assert "held out no labels; use --split=train" in capsys.readouterr().err
    assert main([str(folder), *FEW, "--split=train"]) == 0
    assert read_robustness(folder)["beta"] is None
