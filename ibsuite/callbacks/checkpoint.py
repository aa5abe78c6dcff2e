"""Saving a run so that it can be gone on with."""

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
    run goes on exactly. The old file stays until the new one is whole.

    Args:
        share: share of the time that saving may take; a stretch that ends too soon is not saved.
    """

    def __init__(self, share: float = 0.03) -> None:
        self.share, self.saved, self.cost = share, time.monotonic(), 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if that is worth its time; rank 0 decides for all."""
        began = time.monotonic()
        due = trainer.strategy.broadcast((began - self.saved) * self.share >= self.cost)
        if due and not trainer.should_stop:
            self._save(trainer, record.LAST)
            self.saved = time.monotonic()
            self.cost = self.saved - began

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the final model; a run that something else has ended early can still be gone on with."""
        if not all(c.finished for c in trainer.callbacks if isinstance(c, Coding)):  # type: ignore[attr-defined]
            return
        self._save(trainer, record.FINAL)
        if trainer.is_global_zero:
            (Path(trainer.default_root_dir) / record.LAST).unlink(missing_ok=True)

    @staticmethod
    def _save(trainer: L.Trainer, name: str) -> None:
        path = Path(trainer.default_root_dir) / name
        temporary = path.with_name(path.name + ".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(path)


def check_resumable(state: Mapping[str, Any], identity: list[str], finished: bool) -> None:
    """Refuse a checkpoint of another run, of a finished one, or of one inside a stretch."""
    if state["identity"] != identity:
        raise Refusal("the checkpoint belongs to other settings or data; start anew with --overwrite")
    if finished:
        raise Refusal("the checkpoint is of a finished run; there is nothing to go on with")
    if state["stretch_steps"]:
        raise Refusal("the checkpoint was taken between two stops; go on with --ckpt_path=last")
