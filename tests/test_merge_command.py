"""``python -m ibsuite.merge``: ranges of blocks by the command line become the unbroken run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ibsuite.fit import main as fit
from ibsuite.merge import main
from ibsuite.report import main as report

SMALL = [
    *("--data.num_labels=60", "--code.min_steps=4", "--code.max_steps=4", "--code.views=0", "--code.ratio=2"),
    *("--code.start=fresh", "--logger=null", "--threads=1", "--trainer.accelerator=cpu"),
    "--trainer.enable_progress_bar=false",
]
SHARED = ("total_bits", "charges", "compared", "model_information_bits", "measured_bits", "data")


def some(out: Path, *options: str) -> int:
    return fit([*SMALL, f"--out={out}", *options])


def merged(out: Path) -> Path:
    (run,) = (out / "prequential_digits").iterdir()
    return run


def test_ranges_are_merged_to_the_unbroken_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert some(tmp_path / "whole") == 0
    assert some(tmp_path / "apart", "--code.blocks=2:5") == 0
    run = merged(tmp_path / "apart")
    assert f"`python -m ibsuite.merge {run}`" in capsys.readouterr().out
    assert main([str(run)]) == 2
    assert "block 1 is missing: run it with --code.blocks=1:2 --ckpt_path=last" in capsys.readouterr().err
    assert report([str(run)]) == 2
    assert "holds blocks that were done apart: `python -m ibsuite.merge" in capsys.readouterr().err
    assert some(tmp_path / "apart", "--code.blocks", "0:2") == 0
    assert main([str(run)]) == 0
    assert f"run: {run}" in capsys.readouterr().out

    whole = merged(tmp_path / "whole")
    assert run.name == whole.name
    a, b = (json.loads((path / "codelength.json").read_text()) for path in (run, whole))
    assert {name: a[name] for name in SHARED} == {name: b[name] for name in SHARED}
    assert "code.blocks" not in a["command"]
    assert a["versions"] == b["versions"]
    configs = [yaml.safe_load((path / "config.yaml").read_text()) for path in (run, whole)]
    assert {**configs[0], "out": ""} == {**configs[1], "out": ""}
    for name in ("message/labels.bin", "message/manifest.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    names = [{path.name for path in folder.iterdir()} for folder in (run, whole)]
    assert names[0] - names[1] == {"blocks"}
    assert names[1] <= names[0]
    assert (run / "figures" / "prequential.png").read_bytes().startswith(b"\x89PNG")
    assert main([str(run)]) == 2
    assert "is finished" in capsys.readouterr().err


def test_blocks_are_not_lost_and_not_done_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert some(tmp_path, "--code.blocks=1:2") == 0
    (kept,) = tmp_path.rglob("priced.safetensors")
    capsys.readouterr()
    for options, sentence in {
        ("--code.blocks=1:2",): "blocks/1-2 is finished: merge it",
        ("--ckpt_path=last",): "is done block by block",
        ("--code.blocks=1:9",): "reaches behind block 4 (the final model), the last one: 1:5 are all",
        ("--code.blocks=4",): "code.blocks=4 is no slice a:b",
        ("--code.blocks=4:",): "code.blocks=4: has no end",
        ("--code.blocks", "4:"): "code.blocks=4: has no end",
        ("--code.blocks=1:2", "--code.start=warm"): "code.blocks needs code.start=fresh",
    }.items():
        assert some(tmp_path, *options) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert said.startswith("error: ")
        assert said.count("\n") == 1
    assert kept.is_file()
    assert some(tmp_path, "--code.blocks=1:2", "--overwrite") == 0
    assert some(tmp_path, "--overwrite") == 0
    assert not kept.exists()
    assert some(tmp_path, "--code.blocks=1:2") == 2
    assert "is finished; read it with" in capsys.readouterr().err


def test_a_dry_run_shows_the_bound_and_the_blocks_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert some(tmp_path, "--dry_run") == 0
    assert "blocks 1 to 4 (the final model) need nothing of each other" in capsys.readouterr().out
    assert some(tmp_path, "--dry_run", "--code.blocks=2:4") == 0
    said = capsys.readouterr().out
    assert [line.split("  ")[0] for line in said.splitlines()[1:3]] == ["block 2", "block 3"]
    assert "8 steps of a network" in said
    assert "final model" not in said
    assert some(tmp_path, "--dry_run", "--code.start=warm") == 0
    assert "need nothing of each other" not in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_folder_of_another_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert some(tmp_path, "--code.blocks=1:5") == 0
    run = merged(tmp_path)
    config = run / "blocks" / "1-5" / "config.yaml"
    config.write_text(config.read_text().replace("min_steps: 4", "min_steps: 3"))
    assert main([str(run)]) == 2
    assert "config.yaml is that of the run 0-" in capsys.readouterr().err
    assert not list(run.glob("*.yaml"))
    assert main([str(run.rename(run.with_name("0-00000000")))]) == 2
    assert f"belongs to the run {run.name}" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    for module in ("merge", "launch"):
        program = f"import sys; from ibsuite.{module} import main\ntry: main(['--help'])\n"
        program += "except SystemExit: print({'torch', 'numpy', 'lightning'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()", done.stderr
