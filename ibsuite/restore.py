"""Finished runs and messages as method, data and code again."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as L
import torch
import yaml

from ibsuite import record
from ibsuite.cli import SuiteCLI
from ibsuite.coding import Manifest
from ibsuite.data.preparation import KnownInputs
from ibsuite.interface import Refusal

ONE_PROCESS = (
    "--trainer.devices=1",
    "--trainer.strategy=auto",
    "--trainer.accelerator=auto",
    "--trainer.enable_progress_bar=false",
)
"""Options with which a run's config is built where nothing is trained."""

Parts = tuple[L.LightningModule, L.LightningDataModule, L.Callback]
"""Method, data and code of a run."""


def finished_run(run: Path, inputs: Mapping[str, Any] | None = None) -> Parts:
    """Method, data and code of a finished run as it ended, in evaluation mode, on this machine's device.

    Args:
        run: the run folder.
        inputs: its ``inputs.json``, where nobody wants its data; None: they are read.

    Raises:
        Refusal: there is no final checkpoint, or it is damaged or does not fit the method.
    """
    path = run / record.FINAL
    if (run / record.SOURCE).is_file():
        raise Refusal(f"{run} has compressed a network that another run has trained; give that one")
    if not path.is_file():
        raise Refusal(f"{run} has no {record.FINAL}: an unfinished run; finish it with --ckpt_path=last")
    cli = _built_as(run / record.CONFIG, inputs)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        cli.model.on_load_checkpoint(checkpoint)  # first: the network may have got another form
        cli.model.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, KeyError, EOFError, UnpicklingError):
        raise Refusal(f"{path} is damaged, or does not fit the network of its config") from None
    return _ready(cli, inputs)


def sent_run(run: Path, inputs: Mapping[str, Any] | None = None) -> Parts:
    """Method, data and code of a run as a receiver has them: weights from ``message/weights.bin`` alone.

    For codes that send a network whose form stands in the config: two-part, network compression and
    the curves of ``python -m ibsuite.compress``.

    Args:
        run: the run folder.
        inputs: as for ``finished_run``.

    Raises:
        Refusal: there is no such file, or it is cut off, altered, or of another network.
    """
    path, source = run / record.WEIGHTS, run / record.SOURCE
    if not path.is_file():
        raise Refusal(f"{run} has no {record.WEIGHTS}: its code sends no weights, or it is unfinished")
    cli = _built_as(source if source.is_file() else run / record.CONFIG, inputs)
    try:
        cli.code.receive(cli.model, path.read_bytes())
    except ValueError as error:
        raise Refusal(f"{path} cannot be read: {error}") from None
    return _ready(cli, inputs)


def receiving_run(manifest: Manifest, folder: Path, out: Path, progress: bool) -> SuiteCLI:
    """Everything that a message's config names, untrained, for its receiver.

    Args:
        manifest: of the message.
        folder: for the config, as a file.
        out: folder of the receiver's own run, which is gone on with where there is one.
        progress: show how far it is.
    """
    path = folder / record.CONFIG
    path.write_text(yaml.safe_dump({**manifest.config, "threads": manifest.threads}))
    args = [f"--config={path}", "--logger=null", f"--out={out}", "--ckpt_path=last", "--overwrite=true"]
    args.append(f"--trainer.enable_progress_bar={str(progress).lower()}")
    args.append(f"--trainer.accelerator={'cpu' if manifest.platform.get('device') == 'CPU' else 'auto'}")
    if Path(record.WEIGHTS).name in manifest.streams:  # nothing is trained
        args += ["--trainer.devices=1", "--trainer.num_nodes=1"]
    cli = SuiteCLI(args)
    cli.model.to(cli.trainer.strategy.root_device)
    return cli


def _built_as(config: Path, inputs: Mapping[str, Any] | None) -> SuiteCLI:
    """Everything that a run's config names, untrained, for one process."""
    one = ["--logger=null", *ONE_PROCESS]
    if inputs is not None:
        one.append(f"--data={KnownInputs.__module__}.{KnownInputs.__name__}")
        one += [f"--data.num_classes={inputs['num_classes']}", f"--data.input_shape={inputs['shape']}"]
    try:
        return SuiteCLI([f"--config={config}", *one])
    except Refusal as error:
        raise Refusal(f"{config} cannot be built: {error}") from None


def _ready(cli: SuiteCLI, inputs: Mapping[str, Any] | None) -> Parts:
    if inputs is None:
        cli.datamodule.trainer = cli.trainer  # batches are made on its device
        cli.datamodule.setup("fit")
    return cli.model.to(cli.trainer.strategy.root_device).eval(), cli.datamodule, cli.code
