"""``python -m ibsuite.compress``: a run folder for every curve, done once, and sentences for bad input."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from compress_runs import EXPERIMENT, FEW, SHORT, compressed, trained
from loggers.wandb_log import history, of_kind

import ibsuite.compress
import ibsuite.tradeoffs
from ibsuite.compress import main
from ibsuite.data import Digits
from ibsuite.fit import main as fit
from ibsuite.record import read_codelength, read_csv
from ibsuite.report import main as report

METHODS = ["prune", "quantise", "prune_quantise", "entropy_constrained"]
OBJECTIVES = ["baseline", "gradient", "hessian", "optimal_brain"]
ALTERNATIVES = {"baseline": 1, "gradient": 2, "hessian": 4, "optimal_brain": 1}
POINTS = {"prune": 2, "quantise": 1, "prune_quantise": 2, "entropy_constrained": 1}
ONE = ["--methods", "prune", "--objectives", "baseline"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(run: Path) -> list[Path]:
    return compressed(run, "--methods", *METHODS, "--objectives", *OBJECTIVES)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """Of the run, to be spoilt."""
    return Path(shutil.copytree(run, tmp_path / "out" / EXPERIMENT / run.name))


@pytest.fixture
def said(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """The one sentence with which a call is refused."""

    def refused(*arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit, match=f"^{code}$"):
            sys.exit(main([str(each) for each in arguments]))
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("ibsuite.compress: ")
        return line

    return refused


def test_every_method_and_objective_has_a_run_folder(made: list[Path]) -> None:
    pairs = {(m, o) for m in METHODS for o in OBJECTIVES} - {("entropy_constrained", "optimal_brain")}
    assert {folder.parent.name for folder in made} == {f"{EXPERIMENT}_{m}_{o}" for m, o in pairs}


def test_the_folder_holds_config_source_curve_tuning_message_and_codelength(
    run: Path, made: list[Path]
) -> None:
    for folder in made:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        told = config["compress"]
        method, objective = told["method"], told["objective"]
        assert config["experiment"] == folder.parent.name == f"{EXPERIMENT}_{method}_{objective}"
        assert told["network"] == f"{EXPERIMENT}/{run.name.partition('-')[2]}"
        assert (folder / "source.yaml").read_text() == (run / "config.yaml").read_text()
        rows, document = read_csv(folder / "curve.csv"), read_codelength(folder)
        assert len(rows) == POINTS[method]
        assert (folder / "tuning.csv").exists() == (ALTERNATIVES[objective] > 1)
        if ALTERNATIVES[objective] > 1:
            assert len(read_csv(folder / "tuning.csv")) == POINTS[method] * ALTERNATIVES[objective]
        charges, best = document["charges"], min(rows, key=lambda row: row["total_bits"])
        choices = math.log2(POINTS[method] * ALTERNATIVES[objective])
        assert charges.get("choices", 0) == choices
        assert charges["labels"] == best["label_bits"]
        size = 8 * (folder / "message" / "weights.bin").stat().st_size
        assert size == best["model_bits"]
        assert size == pytest.approx(sum(charges.values()) - charges["labels"] - choices, rel=1e-12)
        assert document["total_bits"] == pytest.approx(best["total_bits"] + choices)
        assert document["code"] == "network_compression"
        labels = np.load(folder / "labels.npz")
        assert -labels["log2_probs"].astype(float).sum() == pytest.approx(charges["labels"], rel=1e-5)
        cost, training = document["cost"], read_codelength(run)["cost"]
        assert cost["seconds"] > training["seconds"]
        assert cost["optimiser_steps"] == training["optimiser_steps"]


def stamps(folders: list[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def test_a_second_call_computes_nothing(
    run: Path, made: list[Path], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("a finished curve was computed again")

    monkeypatch.setattr(ibsuite.tradeoffs, "TrainedNetwork", never)
    before = stamps(made)
    given = [str(run), *FEW, "--methods", *METHODS, *METHODS, "--objectives", *OBJECTIVES]
    assert main(given) == 0
    assert stamps(made) == before
    printed = capsys.readouterr().out
    assert all(f"{folder} is finished" in printed for folder in made)


def test_an_interrupted_curve_and_one_to_be_overwritten_are_done_anew(
    copy: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = [str(copy), *FEW, "--methods", "prune", "--objectives", "baseline", "optimal_brain"]
    done, trace = [], ibsuite.tradeoffs.trace

    def interrupted(*arguments: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(trace(*arguments))
        return done[0]

    with monkeypatch.context() as patched:
        patched.setattr(ibsuite.tradeoffs, "trace", interrupted)
        assert "the same command does what is missing" in said(*two, code=130)
    first, second = (
        next(copy.parent.parent.glob(f"{EXPERIMENT}_prune_{name}/*"))
        for name in ("baseline", "optimal_brain")
    )
    assert not (second / "codelength.json").exists()
    (second / "left over").touch()
    before = stamps([first])
    assert main(two) == 0
    assert stamps([first]) == before
    assert not (second / "left over").exists()
    wanted = read_codelength(second)
    assert main([*two, "--overwrite"]) == 0
    assert stamps([first]) != before
    again = read_codelength(second)
    for document in (wanted, again):
        del document["cost"], document["versions"]
    assert again == wanted


def test_what_cannot_be_honoured_is_said_in_one_sentence(
    run: Path, made: list[Path], tmp_path: Path, said: Callable[..., str]
) -> None:
    few = [str(run), *ONE]
    assert "nothere is not a folder" in said("nothere")
    assert "holds no run" in said(tmp_path)
    assert "give a finished run" in said()
    assert "--keep is no option; did you mean --kept?" in said(run, "--keep=3")
    assert "--zzz is no option; --help lists them" in said(run, "--zzz")
    assert "invalid choice: 'shrink'" in said(run, "--methods", "shrink")
    assert "invalid float value: 'few'" in said(run, "--kept", "few")
    assert "has compressed a network that another run has trained" in said(made[0], *FEW)
    for share in ("0", "1.1", "-0.5"):
        assert f"--kept={float(share)} is a share" in said(*few, "--kept", share)
    assert "--clusters=0: a codebook needs" in said(*few, "--clusters", "0")
    assert "--steps=0.0 must be positive" in said(*few, "--steps", "0")
    assert "--samples=121 must lie between 1 and 120" in said(*few, "--samples", "121")
    assert "--temperatures=0.0 must be positive" in said(*few, "--temperatures", "0")
    assert "--mus=-1.0 must not be negative" in said(*few, "--mus", "-1")
    assert "--probes=1 must be 2 or more" in said(*few, "--probes", "1")
    assert "--settings_compared=0 must be 1 or more" in said(*few, "--settings_compared", "0")
    assert "--retrain_epochs=-1.0" in said(*few, "--retrain_epochs", "-1")
    assert "--retrain_rate=0.0" in said(*few, "--retrain_rate", "0")
    assert "no config file 'nothing'" in said("--config", "nothing")
    assert "write options of a training with =" in said("--config", EXPERIMENT, "--data.num_labels", "160")
    quantised = [str(run), "--methods", "quantise", "--objectives", "baseline"]
    assert "--clusters=5000 is more than the" in said(*quantised, "--clusters", "5000")


def test_runs_that_cannot_be_read_are_refused(copy: Path, said: Callable[..., str]) -> None:
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("- 2\n", "- 3\n", 1))
    assert "does not fit the network of its config" in said(copy, *ONE)
    (copy / "config.yaml").write_text(config)
    (copy / "checkpoints" / "final.ckpt").unlink()
    assert "has no checkpoints/final.ckpt" in said(copy, *ONE)
    (copy / "codelength.json").unlink()
    assert "has no codelength.json: an unfinished run" in said(copy, *ONE)


def test_a_run_of_another_name_is_refused_and_the_folder_one_stands_in_is_not(
    copy: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    assert main([".", *ONE, *FEW]) == 0
    assert len(list(copy.parent.parent.glob(f"{EXPERIMENT}_prune_baseline/0-*"))) == 1
    renamed = copy.rename(copy.with_name("best"))
    assert "is not named <seed>-<digest>" in said(renamed, *ONE)


def test_labels_that_are_missing_are_refused_where_they_are_needed(
    run: Path, tmp_path: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digits, "labels", property(lambda data: torch.full((data.num_labels,), -1)))
    assert "Labels must lie from 0 to 9" in said(run, *FEW, "--objectives", "gradient", "--out", tmp_path)


def test_other_models_are_refused(tmp_path: Path, said: Callable[..., str]) -> None:
    few = [*SHORT[:3], *SHORT[-3:], "--code.watched=0"]
    assert fit(["--config", "variational_digits", f"--out={tmp_path}", *few, "--code.draws=2"]) == 0
    sentence = said(tmp_path / "variational_digits", *ONE)
    assert "Variational cannot be pruned or quantised afterwards" in sentence


def test_a_config_is_trained_first_with_the_options_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    begun, real = [], subprocess.run

    def here(command: list[str], **settings: Any) -> Any:
        if command[1:3] != ["-m", "ibsuite.fit"]:
            return real(command, **settings)
        assert command[0] == sys.executable
        begun.append(command)
        return subprocess.CompletedProcess(command, fit(command[3:]))

    monkeypatch.setattr(subprocess, "run", here)
    given = ["--config", EXPERIMENT, f"--out={tmp_path}", *SHORT, "--seed_everything=3", *ONE, *FEW]
    assert main(given) == 0
    (run,) = (tmp_path / EXPERIMENT).iterdir()
    assert run.name.startswith("3-")
    assert read_codelength(run)["data"]["num_labels"] == 160
    (folder,) = (tmp_path / f"{EXPERIMENT}_prune_baseline").iterdir()
    assert folder.name.startswith("3-")
    assert main(given) == 0
    assert len(begun) == 1
    assert f"training {run}" in capsys.readouterr().out


def test_a_training_that_fails_is_said(
    tmp_path: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ibsuite.compress.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2)
    )
    given = ["--config", EXPERIMENT, f"--out={tmp_path}", *SHORT, *ONE]
    assert "was not trained to its end" in said(*given)


def test_over_the_network_and_retrained_have_folders_of_their_own(
    copy: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ["--methods", "prune", "--objectives", "baseline", "optimal_brain"]
    compressed(copy, *given)
    (wide,) = compressed(copy, *given, "--scope=network")  # layers share no unit in the optimal brain
    assert wide.parent.name == f"{EXPERIMENT}_prune_baseline_network"
    (better,) = compressed(copy, *given[:3], "baseline", "--retrain_epochs=2", "--retrain_rate=1")
    assert better.parent.name == f"{EXPERIMENT}_prune_baseline_retrained"
    (plain,) = copy.parent.parent.glob(f"{EXPERIMENT}_prune_baseline/*")
    at = [read_csv(folder / "curve.csv")[0]["train_nll_bits"] for folder in (plain, better)]
    assert at[1] < at[0]
    capsys.readouterr()
    assert report([str(each) for each in (plain, wide, better)]) == 0
    assert "mean of" not in capsys.readouterr().out  # they are no seeds of one another


def test_a_wandb_run_for_every_curve_without_an_account(copy: Path) -> None:
    (folder,) = compressed(copy, *ONE, "--wandb")
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    rows = [row for row in history(log) if "curve/kept" in row]
    assert [row["curve/kept"] for row in rows] == [0.2, 1.0]
    table = read_csv(folder / "curve.csv")
    assert [row["curve/total_bits"] for row in rows] == [row["total_bits"] for row in table]
    summary = {
        item.key or "/".join(item.nested_key): item.value_json
        for each in of_kind(log, "summary")
        for item in each.update
    }
    assert float(summary["curve/total_bits"]) == min(row["total_bits"] for row in table)
    (described,) = of_kind(log, "run")[:1]
    assert described.display_name == f"{folder.parent.name}/{folder.name}"


def test_tables_figures_and_a_published_result_of_two_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [trained(tmp_path / "runs", f"--seed_everything={seed}") for seed in (0, 1)]
    given = ["runs/float_two_part_digits", *FEW, "--methods", "prune", "--objectives", "baseline", "gradient"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/home/me/ibsuite/compress.py", *given])
    assert main(given) == 0
    capsys.readouterr()
    made = [tmp_path / "runs" / f"{EXPERIMENT}_prune_{name}" for name in ("baseline", "gradient")]
    pictures = [f"--{name}={tmp_path / name}.png" for name in ("rate_distortion", "tuning")]
    assert report([*map(str, made), *pictures]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{EXPERIMENT}, prune: validation accuracy, %; mean of 2 seeds" in printed
    assert "cross entropy, bits a label" in printed
    for name in ("rate_distortion", "tuning"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found = [read_csv(folder / "curve.csv") for folder in sorted(made[1].iterdir())]
    for folder in made[1].iterdir():  # as if nobody had edited a file since the last commit
        document = json.loads((folder / "codelength.json").read_text())
        (folder / "codelength.json").write_text(json.dumps({**document, "git_commit": "abc"}))
    assert report([str(made[1]), "--publish=toy", f"--results={tmp_path}"]) == 0
    result = json.loads((tmp_path / "toy.json").read_text())
    assert result["seeds"] == [0, 1]
    assert result["command"].count("ibsuite.compress") == 1
    assert len(runs) == 2
    for place, share in enumerate(("0.2", "1")):
        for name in ("validation_nll_bits", "validation_loss_distortion", "model_bits"):
            values = [rows[place][name] for rows in found]
            assert result["figures"][f"kept_{share}_{name}"]["values"] == values
            assert result["figures"][f"kept_{share}_{name}"]["mean"] == pytest.approx(sum(values) / 2)
