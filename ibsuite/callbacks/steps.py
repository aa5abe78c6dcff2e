"""Which batches end an optimiser step."""

import lightning.pytorch as L


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the optimiser has stepped after this batch: the last of so many pieces of a global batch.

    Args:
        trainer: whose ``accumulate_grad_batches`` is the number of pieces; a loader hands out whole steps.
        batch_idx: number of the batch in its stretch, from 0.
    """
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0
