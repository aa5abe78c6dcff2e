"""scripts/sweep.py: every point of a grid once for each seed, and what follows."""

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SWEEP = str(ROOT / "configs" / "sweep" / "deepvib_digits.yaml")


@pytest.fixture
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", ROOT / "scripts" / "sweep.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_grid_is_the_product_of_its_values(sweep: ModuleType) -> None:
    grid = sweep.settings({"a": {"values": [1, 2]}, "b": {"value": 3}, "c": {"values": ["x", "y"]}})
    assert list(grid) == [
        {"a": 1, "b": 3, "c": "x"}, {"a": 1, "b": 3, "c": "y"},
        {"a": 2, "b": 3, "c": "x"}, {"a": 2, "b": 3, "c": "y"},
    ]  # fmt: skip


def recorded(
    sweep: ModuleType, monkeypatch: pytest.MonkeyPatch, said: dict[int, tuple[int, str]]
) -> list[list[str]]:
    """Commands that are run; ``said`` is the exit code and the error of some of them."""
    made: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        code, text = said.get(len(made), (0, ""))
        made.append(command[1:])
        return SimpleNamespace(returncode=code, stderr=text)

    monkeypatch.setattr(sweep.subprocess, "run", run)
    return made


def test_every_setting_runs_with_every_seed_and_is_reported(
    sweep: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recorded(sweep, monkeypatch, {0: (2, "error: runs/a is finished; read it")})
    assert sweep.main([SWEEP, "--seeds", "0", "1", "--out=here", "--report", "--bottleneck", "p.png"]) == 0
    *runs, report = made
    assert len(runs) == 2 * 7
    assert len({tuple(run) for run in runs}) == 14
    assert runs[0][:5] == [
        "-m",
        "ibsuite.fit",
        "--config",
        "deepvib_digits",
        "--experiment=deepvib_beta_digits",
    ]
    assert "--model.beta=0.0" in runs[0]
    assert {"--code.settings_compared=7", "--out=here", "--ckpt_path=last"} < set(runs[0])
    assert report == ["-m", "ibsuite.report", "here/deepvib_beta_digits", "--bottleneck", "p.png"]


def test_a_run_that_fails_ends_the_sweep(
    sweep: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made = recorded(sweep, monkeypatch, {2: (1, "error: no memory")})
    assert sweep.main([SWEEP]) == 1
    assert len(made) == 3
    assert "no memory" in capsys.readouterr().err
