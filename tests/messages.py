"""Sending labels and receiving them again, within one process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from small_runs import small_code, small_method

from ibsuite.callbacks import PrequentialCode
from ibsuite.callbacks.block_message import ReceivedBlocks
from ibsuite.coding import Manifest
from ibsuite.data import Affine, Digits, inputs_only

PARTS = ("data", "model", "code", "trainer")


def digits(**settings: Any) -> Digits:
    """100 digits, with distorted views."""
    given = {"num_labels": 100, "batch_size": 16, "augment": Affine(6), "view_augment": Affine(6)}
    return Digits(**{**given, **settings})


def send(
    fit: Callable[..., PrequentialCode], run: Path, data: Any = None, code: Any = None, **settings: Any
) -> PrequentialCode:
    """A run with a config, as the command line makes them; it leaves a message."""
    run.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"seed_everything": 0, "threads": 1, **{name: {} for name in PARTS}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return fit(data or digits(), code or small_code(), folder=run.name, **settings)


def receiver(run: Path) -> ReceivedBlocks:
    """What a receiver has of a run: its message."""
    manifest = Manifest.from_bytes((run / "message" / "manifest.json").read_bytes())
    return ReceivedBlocks(manifest, (run / "message" / "labels.bin").read_bytes())


def receive(
    fit: Callable[..., PrequentialCode],
    run: Path,
    code: Any = None,
    data: Callable[[], Any] = digits,
    **settings: Any,
) -> PrequentialCode:
    """Decode the message of ``run`` into fresh data that know no labels, with a method of another past."""
    code = code or small_code()
    code.receiver = receiver(run)
    torch.manual_seed(1234)
    method = small_method()
    with inputs_only(10):
        return fit(data(), code, method, **{"folder": "received", **settings})
