"""Runs that send weights and labels, small enough for a test, and what their receivers have."""

from pathlib import Path

import numpy as np
from compress_runs import FEW, SHORT

from ibsuite.compress import main as compress
from ibsuite.data import Digits
from ibsuite.fit import main as fit

LENET = "--model.network.filters=[2,4]"
STEPS = ["--code.min_steps=60", "--code.max_steps=60", *SHORT[5:]]
CONFIGS = {
    "floats": ["float_two_part_digits", LENET, "--code.temperatures=[0.7,1.0]"],
    "quantised": ["two_part_digits", LENET, "--code.watched=0"],
    "compressed": ["network_compression_digits", LENET, "--code.steps=[1.0]", "--code.levels=[3]"],
    "subspace": ["subspace_digits", LENET, "--model.dimension=40", "--code.steps=[0.5]"],
    "pruned": ["vibnet_digits", "--model.network.hidden=[20,10]", "--code.validation_labels=20"],
}
"""Packaged configs, with options, by kind."""
CURVE = ["--methods", "prune_quantise", "--objectives", "baseline", *FEW]
NUM_LABELS = 160


def arrays(**settings: int) -> dict[str, np.ndarray]:
    """Digits as ``X`` and ``y`` of a file."""
    data = Digits(num_labels=NUM_LABELS, **settings)
    x, y = data.read_train()
    data.setup()
    return {"X": x[data.order].numpy(), "y": y[data.order].numpy()}


def write_data(root: Path, **changed: np.ndarray | None) -> Path:
    """``digits.npz`` in a data folder, with other arrays or, for None, without them."""
    root.mkdir(parents=True, exist_ok=True)
    held = {name: array for name, array in {**arrays(), **changed}.items() if array is not None}
    np.savez(root / "digits.npz", **held)
    return root


def send(out: Path, root: Path, kind: str, *options: str) -> Path:
    """A finished run of a kind on ``digits.npz`` of a data folder."""
    config, *own = CONFIGS[kind]
    data = ["--config=data/tensors", "--data.path=digits.npz", f"--data.root={root}"]
    assert fit(["--config", config, *data, f"--out={out}", *STEPS, *own, *options]) == 0
    return max((out / config).iterdir(), key=lambda run: run.stat().st_mtime_ns)


def send_curve(run: Path) -> Path:
    """A curve of the network of a finished run."""
    before = set(run.parent.parent.glob("*/*"))
    assert compress([str(run), *CURVE]) == 0
    (made,) = set(run.parent.parent.glob("*/*")) - before
    return made
