"""Every packaged config can be named, composed and run, and says at its top how."""

import re
from pathlib import Path
from typing import Any

import pytest

from ibsuite.arguments import config_folder
from ibsuite.cli import SuiteCLI
from ibsuite.fit import main
from ibsuite.record import read_codelength

CONFIGS = config_folder()
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
FRAGMENTS = sorted(
    str(p.relative_to(CONFIGS).with_suffix(""))
    for p in CONFIGS.glob("*/*.yaml")
    if p.parent.name != "experiment"
)
NEEDS_A_PATH = {"data/image_folder", "data/tensors"}
SHORT = [
    "--code.min_steps=8",
    "--code.max_steps=8",
    "--code.views=0",
    "--logger=null",
    "--trainer.enable_progress_bar=false",
]
NARROW = [
    "--model.network.stages=[[4,4],[4,4],[4,4,4],[4,4,4],[4,4,4]]",
    "--model.network.fully_connected=[8]",
]
"""Every weight that was not pruned is entropy-coded: minutes for 15 million of them."""
DIGITS = ["--data=Digits", "--data.margin=0", "--data.num_labels=40", "--data.batch_size=16"]


def run(tmp_path: Path, *args: str) -> dict[str, Any]:
    assert main([*args, f"--out={tmp_path}"]) == 0
    (finished,) = tmp_path.rglob("codelength.json")
    return read_codelength(finished.parent)


def few_units(text: str) -> list[str]:
    """As many layers, of four units: a draw of 100,000 weights that hardly moved is found in a minute."""
    lists = re.findall(r"\b(filters|hidden): \[([\d, ]+)\]", text)
    return [f"--model.network.{name}=[4{',4' * units.count(',')}]" for name, units in lists]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_on_digits(tmp_path: Path, name: str) -> None:
    text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
    fits = ["--model.network.padding=2"] if "ibsuite.nn.LeNet" in text else []  # 5x5 filters in 8x8 pixels
    fits += ["--code.validation_labels=8"] if "validation_labels" in text else []
    fits += NARROW if "vgg16" in name else []
    fits += ["--model.network.channels=8"] if "ibsuite.nn.SevenConv" in text else []
    fits += ["--model.network.widths=[4,4,4,4]"] if "widths: [64, 128, 256, 512]" in text else []
    fits += ["--code.ratio=5"] if "ibsuite.nn.VGG13" in text else []  # ten million weights for every block
    fits += few_units(text) if "class_path: ibsuite.methods.Variational\n" in text else []
    result = run(tmp_path, "--config", name, *DIGITS, *SHORT, *fits, "--trainer.accelerator=cpu")
    assert (tmp_path / name).is_dir()  # runs are filed under the experiment's own name
    assert result["parts"][-1]["stop"] == 40


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_its_command(name: str) -> None:
    assert f"python -m ibsuite.fit --config {name}" in (CONFIGS / "experiment" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", [name for name in FRAGMENTS if name.startswith("data/")])
def test_every_data_set_composes_with_the_default(tmp_path: Path, name: str, capsys: Any) -> None:
    path = ["--data.path=somewhere"] if name in NEEDS_A_PATH else []
    with pytest.raises(SystemExit) as end:
        main(["--config", name, *path, "--print_config"])
    assert end.value.code == 0
    assert "class_path: ibsuite.data." in capsys.readouterr().out


def test_a_fragment_changes_the_network_and_nothing_else(tmp_path: Path) -> None:
    result = run(tmp_path, "--config", "method/mlp", "--data.num_labels=40", *SHORT)
    text = next(tmp_path.rglob("config.yaml")).read_text()
    assert "ibsuite.nn.MLP" in text
    assert "epochs: 15" in text
    assert result["code"] == "self_switch"


def test_the_variants_of_vgg_fit_their_gates(tmp_path: Path) -> None:
    """Instantiated, not trained: a wrong number of factors is refused by the method."""
    for variant in ("vibnet_d4", "vibnet_g5"):
        given = ["--config", "vibnet_vgg16_cifar100", "--config", f"method/{variant}", *DIGITS]
        cli = SuiteCLI(
            [*given, "--code.validation_labels=8", "--trainer.accelerator=cpu", f"--out={tmp_path}"]
        )
        assert (
            len(cli.model.places)
            == len(cli.model.layer_gammas)
            == {"vibnet_d4": 15, "vibnet_g5": 16}[variant]
        )


def test_a_saved_config_repeats_the_run(tmp_path: Path) -> None:
    first = run(tmp_path / "a", "--data.num_labels=40", "--model.network=MLP", *SHORT)
    saved = next((tmp_path / "a").rglob("config.yaml"))
    again = run(tmp_path / "b", "--config", str(saved))
    assert again["total_bits"] == first["total_bits"]
    assert saved.parent.name == next((tmp_path / "b").rglob("config.yaml")).parent.name
