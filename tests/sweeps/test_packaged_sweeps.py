"""Every file of configs/sweep: its settings parse, its trials are charged for, and what stops early may."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from ibsuite import compress
from ibsuite.arguments import config_folder
from ibsuite.fit import main
from ibsuite.sweeping import Sweep, read_sweep

SWEEPS = sorted((config_folder() / "sweep").glob("*.yaml"))
BLOCKS = {"code.first_block", "code.ratio", "code.blocks", "data.num_labels"}
"""Settings under which two runs have not sent the same labels when they have logged as many blocks."""
sweeps = pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)


def first(spec: dict[str, Any]) -> Any:
    return spec.get("value", spec.get("values", [spec.get("min")])[0])


def config_of(sweep: Sweep) -> str:
    return next((word for word in sweep.command if word.startswith("--config=")), "--config=default")


def settings_compared(config: str) -> int:
    """What a config says was compared before it was chosen, by its own file."""
    name = config.removeprefix("--config=")
    folder = config_folder()
    path = folder / "default.yaml" if name == "default" else folder / "experiment" / f"{name}.yaml"
    return int(yaml.safe_load(path.read_text())["code"]["init_args"].get("settings_compared", 1))


@sweeps
def test_every_trial_is_charged_for_all(path: Path) -> None:
    """Times what the config itself had compared on the same labels; of a curve, its command adds that."""
    sweep = read_sweep(str(path))
    if sweep.program == "ibsuite.compress":
        assert sweep.parameters["settings_compared"]["value"] == sweep.trials
    else:
        charged = sweep.parameters["code.settings_compared"]["value"]
        assert charged == sweep.trials * settings_compared(config_of(sweep))
    assert f"{sweep.trials} settings" in path.read_text()


@sweeps
def test_the_command_is_one_that_agents_and_everybody_can_run(path: Path) -> None:
    sweep = read_sweep(str(path))
    assert sweep.command[:4] == ["${env}", "${interpreter}", "-m", "${program}"]
    assert sweep.command[-1] == "${args}"
    assert sweep.experiment
    if sweep.program == "ibsuite.fit":
        assert "--ckpt_path=last" in sweep.command  # a trial that is queued again goes on
    else:
        assert sweep.program == "ibsuite.compress"
        assert {"--wandb", "--logger=null"} < set(sweep.command)  # one W&B run: the curve's
    text = path.read_text()
    assert f"python -m ibsuite.sweep {path.stem}" in text
    assert f"wandb sweep configs/sweep/{path.name}" in text
    assert (sweep.metric, sweep.goal) == ("code/total_bits", "minimize")
    assert None not in [first(spec) for spec in sweep.parameters.values()]


@sweeps
def test_what_stops_early_compares_like_with_like(path: Path) -> None:
    """Only codes that send block by block have a total on the way, and only at the same blocks."""
    sweep = read_sweep(str(path))
    if sweep.early_terminate:
        assert path.stem.startswith("prequential")
        assert not BLOCKS & set(sweep.parameters)
        assert sweep.early_terminate["min_iter"] >= 2


@sweeps
def test_settings_parse(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = read_sweep(str(path))
    words = [f"--{name}={first(spec)}" for name, spec in sweep.parameters.items()]
    config = [] if config_of(sweep) == "--config=default" else [config_of(sweep)]
    if sweep.program == "ibsuite.compress":
        options, rest = compress._parser().parse_known_args([*config, *words])
        assert not rest
        assert math.prod(len(getattr(options, name)) for name in ("methods", "objectives", "kept")) == 1
        return
    with pytest.raises(SystemExit) as end:
        main([*config, *words, "--print_config"])
    assert end.value.code == 0
    charged = sweep.parameters["code.settings_compared"]["value"]
    assert f"settings_compared: {charged}" in capsys.readouterr().out
