"""scripts/dashboard.py: what it builds passes the library's own schema, and draws what runs really log."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loggers.wandb_log import history, of_kind
from sweeps.stand_in import StandIn

from ibsuite import compress, fit

pytest.importorskip("wandb_workspaces", reason="needs ibsuite[dashboards]")

ROOT = Path(__file__).parent.parent
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--code.min_steps=4"]
QUIET += ["--trainer.log_every_n_steps=2"]
SMALL = [*QUIET, "--data.num_labels=120", "--code.max_steps=8"]
WHOLE = [*SMALL, "--code.watched=2", "--code.validation_labels=40"]
PLANE = ["--trainer.callbacks+=InformationPlane", "--trainer.callbacks.samples=60"]
RUNS = [
    [*SMALL, "--code.views=0", "--code.ratio=4", "--code.settings_compared=2"],
    ["--config=two_part_digits", *SMALL, "--code.watched=2"],
    ["--config=variational_digits", *SMALL, "--code.watched=2"],
    ["--config=vibnet_digits", *WHOLE, "--code.settings_compared=2"],
    ["--config=deepvib_digits", *WHOLE],
    ["--config=rate_distortion_digits", *WHOLE, *PLANE],
]


@pytest.fixture(scope="module")
def dashboard() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "scripts" / "dashboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(items: Any) -> set[str]:
    return {item.key or "/".join(item.nested_key) for item in items}


def logged(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """Keys of rows of all runs below a folder, keys of their summaries, and settings in their configs."""
    rows, keys, settings = set[str](), set[str](), set[str]()
    for log in folder.rglob("run-*.wandb"):
        rows |= {key for row in history(log) for key in row}
        keys |= {key for summary in of_kind(log, "summary") for key in text(summary.update)}
        settings |= {key for run in of_kind(log, "run") for key in text(run.config.update)}
        settings |= {key for config in of_kind(log, "config") for key in text(config.update)}
    return rows, keys, settings


def check(dashboard: ModuleType, panels: list[Any], rows: set[str], summaries: set[str]) -> None:
    """Lines are drawn from rows, everything else from the last value of a key."""
    lines = [panel for panel in panels if isinstance(panel, dashboard.wr.LinePlot)]
    asked, other = (dashboard.drawn_keys(some) for some in (lines, [p for p in panels if p not in lines]))
    assert asked["keys"] <= rows, asked["keys"] - rows
    assert other["keys"] <= summaries, other["keys"] - summaries
    for pattern in asked["patterns"]:
        assert any(re.fullmatch(pattern, key) for key in rows), pattern


def test_the_workspace_passes_the_schema_and_is_printed_offline(dashboard: ModuleType, capsys: Any) -> None:
    assert dashboard.main(["--print"]) == 0
    sections = json.loads(capsys.readouterr().out)["spec"]["section"]["panelBankConfig"]["sections"]
    named = {section["name"]: section["panels"] for section in sections}
    assert all(named.values())
    kinds = {panel["viewType"] for panels in named.values() for panel in panels}
    assert {"Run History Line Plot", "Bar Chart", "Scatter Plot", "Parallel Coordinates Plot"} <= kinds


def test_a_wrong_field_is_refused(dashboard: ModuleType) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="log_z"):
        dashboard.wr.LinePlot(x="labels_sent", y=["code/total_bits"], log_z=True)
    with pytest.raises(ValidationError, match="plot_type"):
        dashboard.wr.LinePlot(x="labels_sent", y=["code/total_bits"], plot_type="stacked")


def test_saving_needs_to_know_whose_workspace_it_is(dashboard: ModuleType, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        dashboard.main([])
    assert stopped.value.code == 2
    assert "--entity is missing" in capsys.readouterr().err


def test_a_prequential_run_logs_what_its_panels_draw(dashboard: ModuleType, tmp_path: Path) -> None:
    assert fit.main([*RUNS[0], f"--out={tmp_path}"]) == 0
    rows, summaries, _ = logged(tmp_path)
    check(dashboard, [*dashboard.codes(), dashboard.charges()[0]], rows, summaries)
    with pytest.raises(AssertionError, match="planted"):
        check(dashboard, [dashboard.wr.LinePlot(x="labels_sent", y=["code/planted"])], rows, summaries)


@pytest.mark.slow
def test_runs_log_every_key_that_is_drawn(dashboard: ModuleType, tmp_path: Path) -> None:
    for run in RUNS:
        assert fit.main([*run, f"--out={tmp_path}"]) == 0
    few = [
        "--methods",
        "prune",
        "--objectives",
        "baseline",
        "--kept",
        "0.5",
        "--temperatures",
        "1",
        "--mus",
        "0",
    ]
    assert compress.main([str(tmp_path / "rate_distortion_digits"), *few, "--wandb"]) == 0
    rows, summaries, settings = logged(tmp_path)
    sections = dashboard.workspace("me", "ibsuite").sections
    panels = [panel for section in sections for panel in section.panels]
    check(dashboard, panels, rows, summaries)
    asked = dashboard.drawn_keys(panels)
    used = {name for name in asked["config"] if name.split(".")[1] in ("beta", "gamma", "optimizer")}
    assert used
    assert used <= settings, used - settings


def test_it_is_saved_to_the_entity_and_project_that_are_named() -> None:
    """By the library itself, to the stand-in for W&B's server."""
    server = StandIn()
    try:
        command = [sys.executable, str(ROOT / "scripts" / "dashboard.py"), "--entity=me", "--project=ibsuite"]
        done = subprocess.run(
            command, env={**os.environ, **server.environment}, capture_output=True, text=True, timeout=300
        )
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    assert "me/ibsuite" in done.stdout
    (saved,) = server.views
    assert (saved["entityName"], saved["projectName"]) == ("me", "ibsuite")
    assert "code/total_bits" in saved["spec"]
