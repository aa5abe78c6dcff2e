"""scripts/reproduce.py: what a name stands for, what is skipped, and an experiment from run to result."""

import dataclasses
import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType

import pytest

from ibsuite import record
from ibsuite.reporting.papers import Experiment, read_papers


@pytest.fixture(scope="module")
def reproduce() -> ModuleType:
    path = Path(__file__).parent.parent / "scripts" / "reproduce.py"
    spec = importlib.util.spec_from_file_location("reproduce", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = Experiment(
    "small",
    options="--config float_two_part_digits --experiment=small --data.num_labels=40 --code.max_steps=2 "
    "--code.min_steps=1 --trainer.enable_progress_bar=false --trainer.accelerator=cpu",
    seeds=(0, 1),
)


def test_a_name_stands_for_a_table_a_paper_or_an_experiment(reproduce: ModuleType) -> None:
    papers = read_papers()

    def names(*words: str) -> list[str]:
        return [experiment.name for experiment in reproduce.experiments_of(papers, words)]

    assert names("subspace_mnist") == ["subspace_mnist"]
    assert names("vibnet/table_2") == ["vibnet_lenet5_mnist", "vibnet_lenet5_smaller_mnist"]
    assert names("rate_distortion/figure_2")[0] == "rate_distortion_mnist"  # the network before its curves
    assert len(names("all")) == sum(len(paper.experiments) for paper in papers)
    assert names("subspace_mnist", "subspace_mnist") == ["subspace_mnist"]
    with pytest.raises(KeyError, match="subspce"):
        names("subspce_mnist")


def test_commands_are_fits_and_a_publication(reproduce: ModuleType, tmp_path: Path) -> None:
    first, second, publish = reproduce.commands(SMALL, [0, 1], tmp_path / "small.json")
    assert first[:2] == ["-m", "ibsuite.fit"]
    assert (first[-1], second[-1]) == ("--seed_everything=0", "--seed_everything=1")
    assert publish[2:4] == ["runs/small/0-*", "runs/small/1-*"]
    direct = Experiment("direct", command="python -m ibsuite.noise_curve --json {result}")
    assert reproduce.commands(direct, [0], tmp_path / "direct.json") == [
        ["-m", "ibsuite.noise_curve", "--json", str(tmp_path / "direct.json")]
    ]


def test_what_has_its_result_is_left_alone(
    reproduce: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_json(tmp_path / "small.json", {"seeds": [0, 1], "figures": {}})
    assert reproduce.reproduce(SMALL, [0, 1], tmp_path, time.monotonic() + 60, dry_run=True)
    assert "is there" in capsys.readouterr().out
    assert reproduce.reproduce(SMALL, [0, 2], tmp_path, time.monotonic() + 60, dry_run=True)
    assert "--seed_everything=2" in capsys.readouterr().out


def test_a_result_that_was_cut_down_stands_for_its_experiment_only_where_that_is_meant(
    reproduce: ModuleType, tmp_path: Path
) -> None:
    record.write_json(tmp_path / "small.json", {"seeds": [0, 1], "scale": "reduced: half"})
    assert reproduce.whole_result(SMALL, tmp_path) is None
    meant = dataclasses.replace(SMALL, reduced="half")
    assert reproduce.whole_result(meant, tmp_path)["seeds"] == [0, 1]


@pytest.mark.slow
def test_an_experiment_is_run_published_and_then_skipped(
    reproduce: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if str(record.provenance()["git_commit"]).endswith("+changes"):
        pytest.skip("runs of edited files are not published: commit first")
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "runs" / "results"
    assert not reproduce.reproduce(SMALL, [0, 1], results, time.monotonic(), dry_run=False)  # no time at all
    assert "the same command goes on" in capsys.readouterr().err
    assert reproduce.reproduce(SMALL, [0, 1], results, float("inf"), dry_run=False), capsys.readouterr().err
    assert json.loads((results / "small.json").read_text())["seeds"] == [0, 1]
    assert reproduce.reproduce(SMALL, [0, 1], results, float("inf"), dry_run=False)
    assert "is there" in capsys.readouterr().out
