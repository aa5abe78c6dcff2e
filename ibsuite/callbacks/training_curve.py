"""Watching a training while it goes on."""

from typing import Any

import lightning.pytorch as L

from ibsuite.callbacks.steps import ends_step
from ibsuite.interface import StochasticRepresentation
from ibsuite.units import nats_to_bits


class TrainingCurve(L.Callback):
    """Logs the training loss every ``trainer.log_every_n_steps`` steps, past Lightning's own logging.

    ``self.log`` costs about half a millisecond a key and step, whether or not anything is written;
    this costs nothing between two rows.

    | key | meaning |
    |---|---|
    | train/loss_bits | training loss of rank 0's share of the batch, smoothing included, bits a label |
    | train/learning_rate | of the first parameter group |
    | train/beta | weight of the rate, which may be a multiplier that moves; of a stochastic representation |
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log one row, now and then."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0 and ends_step(trainer, batch_idx):
            row = {
                "train/loss_bits": nats_to_bits(float(outputs["loss"])),
                "train/learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            }
            if isinstance(pl_module, StochasticRepresentation):
                row["train/beta"] = pl_module.beta
            for logger in trainer.loggers:
                logger.log_metrics(row, step=trainer.global_step)
