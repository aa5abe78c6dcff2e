"""A trained run small enough for a test, and its compression."""

from pathlib import Path

from ibsuite.compress import main as compress
from ibsuite.fit import main as fit

EXPERIMENT = "float_two_part_digits"
SHORT = ["--data.num_labels=160", "--code.min_steps=60", "--code.max_steps=60", "--code.formats=[float32]",
         "--model.network.filters=[2,4]", "--logger=null", "--trainer.enable_progress_bar=false",
         "--trainer.accelerator=cpu"]  # fmt: skip
HELD_OUT = "--code.validation_labels=40"
FEW = [
    "--kept",
    "0.2",
    "1.0",
    "--clusters",
    "3",
    "--steps",
    "1",
    "--temperatures",
    "1",
    "4",
    "--mus",
    "0",
    "10",
]


def trained(out: Path, *options: str, held_out: str = HELD_OUT) -> Path:
    """A finished run, in ``out``."""
    assert fit(["--config", EXPERIMENT, f"--out={out}", held_out, *SHORT, *options]) == 0
    return max((out / EXPERIMENT).iterdir(), key=lambda run: run.stat().st_mtime_ns)


def compressed(run: Path, *options: str) -> list[Path]:
    """The runs of its curves."""
    before = set(run.parent.parent.glob("*/*"))
    assert compress([str(run), *FEW, *options]) == 0
    return sorted(set(run.parent.parent.glob("*/*")) - before)
