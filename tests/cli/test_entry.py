"""``ibsuite COMMAND``: every command by one name, and the same run whichever way it was launched."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ibsuite
from ibsuite.__main__ import commands, main

ROOT = Path(__file__).parents[2]


def test_the_commands_are_those_of_the_import_contract() -> None:
    contract = (ROOT / "pyproject.toml").read_text().split('id = "rooms"')[1]
    row = next(line for line in contract.splitlines() if "fit |" in line)
    assert set(commands()) == set(re.findall(r"\w+", row))


@pytest.mark.parametrize("asked", [["--help"], []])
def test_help_tells_every_command_with_what_it_does(asked: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(asked) == 0
    said = capsys.readouterr().out
    for name, sentence in commands().items():
        assert re.search(rf"^  {name} +\w.*\.$", said, re.MULTILINE), name
        assert "python -m" not in sentence


def test_help_imports_neither_torch_nor_numpy() -> None:
    """That would take seconds."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ibsuite", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.split("|")[-1].strip() for line in told.stderr.splitlines()}
    assert "ibsuite" in imported
    assert not {"torch", "numpy", "lightning"} & imported


def test_the_version_stands_in_one_place(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ibsuite {ibsuite.__version__}\n"
    assert "version" not in (ROOT / "pyproject.toml").read_text().split("[project]")[1].split("dynamic")[0]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("reprot", "error: no command 'reprot'; did you mean report?"),
        ("--config", "error: no command '--config'; commands are "),
    ],
)
def test_a_mistyped_command_is_told_the_nearest(typed: str, told: str, capsys: pytest.CaptureFixture) -> None:
    assert main([typed]) == 2
    assert capsys.readouterr().err.startswith(told)


def test_a_command_gets_its_options_and_gives_its_exit_code() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "ibsuite", "switch", "no-such-run", "another"], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("ibsuite.switch: no-such-run is not a folder")


@pytest.mark.slow
def test_two_processes_launched_by_the_console_script_record_the_same_command(tmp_path: Path) -> None:
    """Lightning starts the second process; it has to be another of the same command."""
    script = tmp_path / "ibsuite"
    script.write_text("import sys\nfrom ibsuite.__main__ import main\nsys.exit(main())\n")
    options = ["--data.num_labels=120", "--code.min_steps=8", "--code.max_steps=8", "--code.views=0"]
    options += ["--model.network=MLP", "--trainer.accelerator=cpu", "--config=trainer/two_processes"]
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, "fit", *options], cwd=tmp_path, env=environment, check=True)
    (result,) = tmp_path.rglob("codelength.json")
    document = json.loads(result.read_text())
    assert document["cost"]["devices"] == 2
    assert document["command"] == f"python -m ibsuite.fit {' '.join(options)}"
    assert len(list(tmp_path.rglob("offline-run-*"))) == 1
