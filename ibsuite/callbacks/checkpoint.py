"""Saving a run so that it can be gone on with."""

import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint

from ibsuite import record
from ibsuite.interface import Coding, Refusal


class SaveStretch(Checkpoint):
    """Save the run at ends of stretches: ``checkpoints/last.ckpt``, and ``final.ckpt`` at its end.

    A stretch derives all its randomness from its own number, so these are the points from which a
    run goes on exactly. The old file stays until the new one is whole; what a killed process left half
    written goes when its run is gone on with. ``final.ckpt`` holds the method's state alone: nobody goes on
    from there, and the states of optimiser and code would be most of it. SIGTERM and SIGUSR1, by which a
    cluster announces that it wants its machines back, end the run at the next such point.

    Args:
        share: share of the time that saving may take; a stretch that ends too soon is not saved.
    """

    def __init__(self, share: float = 0.03) -> None:
        self.share, self.saved, self.cost = share, time.monotonic(), 0.0
        self.asked_to_stop = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse ranks that would go on from different checkpoints; remove what was left half written."""
        first = trainer.strategy.broadcast(str(trainer.ckpt_path))
        if not trainer.strategy.reduce_boolean_decision(first == str(trainer.ckpt_path)):
            raise Refusal(
                f"not every process finds the checkpoints of {trainer.default_root_dir}: all nodes need the "
                "same --out, in a file system that they share"
            )
        if trainer.is_global_zero:
            for name in (record.LAST, record.FINAL):
                _unfinished(Path(trainer.default_root_dir) / name).unlink(missing_ok=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen, in place of Lightning, which would stop within a stretch; it puts the old handlers back."""
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(each, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: Any) -> None:
        self.asked_to_stop = True
        name = signal.Signals(number).name
        print(f"{name}: the run stops at the end of this stretch, and is saved then", file=sys.stderr)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a final checkpoint."""
        refuse_final(checkpoint)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if that is worth its time, or if the run has to stop; rank 0 decides for all."""
        began = time.monotonic()
        worth = (began - self.saved) * self.share >= self.cost
        due, stop = trainer.strategy.broadcast((worth or self.asked_to_stop, self.asked_to_stop))
        if due and not trainer.should_stop:
            path = Path(trainer.default_root_dir) / record.LAST
            trainer.save_checkpoint(_unfinished(path))
            _finish(trainer, path)
            self.saved = time.monotonic()
            self.cost = self.saved - began
            trainer.should_stop = stop

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the final model; a run that something else has ended early can still be gone on with."""
        if not all(c.finished for c in trainer.callbacks if isinstance(c, Coding)):  # type: ignore[attr-defined]
            return
        path = Path(trainer.default_root_dir) / record.FINAL
        checkpoint = {
            "state_dict": trainer.strategy.lightning_module_state_dict(),
            "global_step": trainer.global_step,
            "pytorch-lightning_version": L.__version__,
            "callbacks": {},
        }
        pl_module.on_save_checkpoint(checkpoint)
        trainer.strategy.save_checkpoint(checkpoint, _unfinished(path))
        trainer.strategy.barrier()
        _finish(trainer, path)
        if trainer.is_global_zero:
            (path.parent / Path(record.LAST).name).unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    """Where a checkpoint is written until it is whole."""
    return path.with_name(path.name + ".part")


def _finish(trainer: L.Trainer, path: Path) -> None:
    if trainer.is_global_zero:
        _unfinished(path).replace(path)


def refuse_final(checkpoint: Mapping[str, Any]) -> None:
    """Refuse the checkpoint of a finished run, which holds the method's state alone."""
    if not checkpoint["callbacks"]:
        raise Refusal("the checkpoint is of a finished run; there is nothing to go on with")


def check_resumable(state: Mapping[str, Any], identity: list[str], finished: bool) -> None:
    """Refuse a checkpoint of another run, of a finished one, or of one inside a stretch."""
    if state["identity"] != identity:
        raise Refusal("the checkpoint belongs to other settings or data; start anew with --overwrite")
    if finished:
        raise Refusal("the checkpoint is of a finished run; there is nothing to go on with")
    if state["stretch_steps"]:
        raise Refusal("the checkpoint was taken between two stops; go on with --ckpt_path=last")
