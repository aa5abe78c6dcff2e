"""python -m ibsuite.sweep: the trials of a file that W&B's agents take, without W&B, by real processes."""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from ibsuite.sweep import main
from ibsuite.sweeping import read_sweep, run_trials

TOY = str(Path(__file__).parent / "toy.py")
GRID: dict[str, Any] = {
    "program": TOY,
    "command": ["${env}", "${interpreter}", "${program}", "--experiment=toy", "${args}"],
    "method": "grid",
    "metric": {"name": "code/total_bits", "goal": "minimize"},
    "parameters": {
        "x": {"values": [1, 3, 4]},
        "y": {"values": ["a", "b"]},
        "code.settings_compared": {"value": 6},
    },
}
Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)

    def write(**changes: Any) -> str:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({**copy.deepcopy(GRID), **changes}))
        return str(path)

    return write


def started(folder: Path) -> dict[str, int]:
    """How often each run has been started."""
    return {path.parent.name: len(path.read_text()) for path in folder.rglob("started")}


def test_every_point_of_a_grid_runs_once_and_the_best_is_told_first(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {"x": {"values": [1, 3, 4]}, "code.settings_compared": {"value": 3}}
    file = written(parameters=parameters)
    assert main([file, "--count", "2"]) == 0
    assert sum(started(tmp_path).values()) == 2
    assert "2 of 3 trials" in capsys.readouterr().out
    assert main([file]) == 0  # goes on
    assert started(tmp_path) == {"0-1": 1, "0-3": 1, "0-4": 1}
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "complete" in line]
    assert [row[1] for row in rows] == ["3", "4", "1"]
    assert [row[2] for row in rows] == ["10.000", "11.000", "14.000"]
    assert main([file]) == 0
    assert started(tmp_path) == {"0-1": 1, "0-3": 1, "0-4": 1}


def test_a_setting_counts_by_its_mean_over_seeds(tmp_path: Path, written: Written) -> None:
    parameters = {"x": {"values": [1, 3]}, "code.settings_compared": {"value": 2}}
    study = run_trials(read_sweep(written(parameters=parameters)), tmp_path / "runs", seeds=[0, 5])
    assert sorted(trial.value for trial in study.trials) == [12.5, 16.5]
    assert len(started(tmp_path)) == 4


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_makes_as_many_trials_as_are_charged(tmp_path: Path, written: Written, method: str) -> None:
    parameters = {"x": {"min": 0.0, "max": 6.0}, "code.settings_compared": {"value": 4}}
    study = run_trials(
        read_sweep(written(method=method, run_cap=4, parameters=parameters)), tmp_path / "runs"
    )
    assert len({trial.params["x"] for trial in study.trials}) == 4
    assert all(0 <= trial.params["x"] <= 6 for trial in study.trials)


def test_a_trial_that_is_behind_is_stopped_early(tmp_path: Path, written: Written) -> None:
    parameters = {"x": {"values": [3, 100]}, "blocks": {"value": 3}, "code.settings_compared": {"value": 2}}
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    study = run_trials(read_sweep(written(parameters=parameters, early_terminate=early)), tmp_path / "runs")
    ended = {trial.params["x"]: trial.state.name for trial in study.trials}
    first = study.trials[0].params["x"]
    assert ended[3] == "COMPLETE"
    assert ended[100] == ("COMPLETE" if first == 100 else "PRUNED")  # the first has nobody to be behind of
    unfinished = [
        run for run in (tmp_path / "runs" / "toy").glob("0-*") if not (run / "codelength.json").exists()
    ]
    assert len(unfinished) == list(ended.values()).count("PRUNED")


def test_an_interrupted_trial_is_gone_on_with_under_its_own_settings(
    tmp_path: Path, written: Written
) -> None:
    sweep = read_sweep(written(parameters={"x": {"values": [-1, 3]}, "code.settings_compared": {"value": 2}}))
    from ibsuite.interface import Refusal

    with pytest.raises(Refusal, match="the trial was refused: x must not be -1"):
        run_trials(sweep, tmp_path / "runs")
    with pytest.raises(Refusal, match="the trial was refused"):  # the same one, first
        run_trials(sweep, tmp_path / "runs")


def test_a_training_that_breaks_is_one_failed_trial(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {"x": {"values": [-2, 3]}, "code.settings_compared": {"value": 2}}
    assert main([written(parameters=parameters)]) == 1
    said = capsys.readouterr().out
    assert "failed: weights is not finite at step 7" in said
    assert "complete" in said


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "uncharged": ({"parameters": {"x": {"values": [1, 2]}}}, "has 2 trials and charges for None"),
    "undercharged": (
        {"parameters": {"x": {"values": [1, 2, 3]}, "code.settings_compared": {"value": 2}}},
        "has 3 trials and charges for 2",
    ),
    "endless": ({"method": "random"}, "random needs run_cap, the number of trials"),
    "method": ({"method": "annealing"}, "method 'annealing' is none of grid, random, bayes"),
    "range": (
        {"parameters": {"x": {"min": 0, "max": 1}, "code.settings_compared": {"value": 1}}},
        "x of a grid needs values, not a range",
    ),
    "args": ({"command": ["python", "${program}", "--experiment=toy"]}, 'write "${args}" in its command'),
    "experiment": ({"command": ["python", "${program}", "${args}"]}, "its command needs --experiment=NAME"),
    "metric": ({"metric": {"name": "code/nothing"}}, "logs no 'code/nothing'"),
    "goal": ({"metric": {"name": "a", "goal": "least"}}, "a goal that is minimize or maximize"),
    "hyperband": ({"early_terminate": {"type": "envelope"}}, "early_terminate needs type: hyperband"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str, written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    changes, sentence = REFUSED[name]
    assert main([written(**changes)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert sentence in said[0]


def test_a_mistyped_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deepvib_digts"]) == 2
    assert "no sweep 'deepvib_digts'; packaged ones are deepvib_digits" in capsys.readouterr().err


def test_commands_are_those_of_wandbs_agents(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word, but for the interpreter, which is this one."""
    monkeypatch.setenv("WHERE", "there")
    command = [
        "${env}",
        "WANDB_MODE=offline",
        "${interpreter}",
        "-m",
        "${program}",
        "--out=${envvar:WHERE}",
        "${args}",
    ]
    parameters = {"x": {"values": [1e-05, True, [8, 8]]}, "m": {"parameters": {"lr": {"value": 0.3}}},
                  "code.settings_compared": {"value": 3}}  # fmt: skip
    sweep = read_sweep(written(command=[*command, "--experiment=toy"], parameters=parameters))
    settings: dict[str, Any] = {"x": 1e-05, "m.lr": 0.3, "n": None, "b": True, "l": [8, 8], "c": 3}
    filled = create_sweep_command_args({"args": {name: {"value": value} for name, value in settings.items()}})
    variables = {**filled, "env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [TOY]}
    theirs = [
        word
        for each in create_sweep_command([*command, "--experiment=toy"])
        for word in (variables[each[2:-1]] if each.startswith("${") else [each])
    ]
    assert sweep.words(settings) == theirs
    assert set(sweep.parameters) == {"x", "m.lr", "code.settings_compared"}


def test_what_follows_report_is_the_reports(written: Written, capfd: pytest.CaptureFixture[str]) -> None:
    parameters = {"x": {"values": [3]}, "code.settings_compared": {"value": 1}}
    assert main([written(parameters=parameters), "--report", "--nonsense"]) == 2
    assert "--nonsense" in capfd.readouterr().err


def test_the_journal_is_json_that_outlives_the_process(tmp_path: Path, written: Written) -> None:
    parameters = {"x": {"values": [3]}, "code.settings_compared": {"value": 1}}
    run_trials(read_sweep(written(parameters=parameters)), tmp_path / "runs")
    (journal,) = (tmp_path / "runs" / "toy").glob("sweep-*.journal")
    assert all(json.loads(line) for line in journal.read_text().splitlines())
