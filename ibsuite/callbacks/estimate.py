"""What a run would do and cost, found by doing a few steps of it."""

import time
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch

from ibsuite.callbacks.pricing import PRICING_BATCH, evaluating
from ibsuite.interface import Ahead, Classifier, Coding, LabelSequence, Stretch

TRIAL_STEPS = 5


class _Clock(L.Callback):
    """When each optimiser step ended, seconds."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Look at the clock."""
        self.ends.append(time.perf_counter())


class Estimate(NamedTuple):
    """What lies ahead of a run."""

    ahead: Ahead
    apart: dict[int, float]
    """Seconds of each block, where blocks could run on machines of their own; else none."""
    seconds: float
    """On this machine's CPU, one process, without start-up."""
    disk_bytes: int
    """Of the checkpoint and of ``labels.npz``, before compression."""
    parameters: int


def estimate(module: Any, sequence: Any, code: Coding) -> Estimate:
    """Plan a run, and time a few optimiser steps and one pricing batch on the CPU."""
    assert isinstance(module, L.LightningModule)
    assert isinstance(module, Classifier)
    assert isinstance(sequence, LabelSequence)
    assert isinstance(sequence, L.LightningDataModule)
    sequence.prepare_data()
    sequence.setup("fit")
    ahead = code.ahead(sequence)
    sequence.stretch = Stretch(torch.arange(sequence.num_labels), TRIAL_STEPS, 0)
    step, pricing = _training_step_seconds(module, sequence), _pricing_seconds(module, sequence)
    apart = {block: steps * step + priced * pricing for block, (steps, priced) in ahead.apart.items()}
    seconds = sum(steps for *_, steps in ahead.rows) * step + ahead.priced * pricing
    parameters = sum(p.numel() for p in module.parameters())
    disk = 4 * parameters * 3 + sequence.num_labels * (4 * ahead.predictors + 8)
    return Estimate(ahead, apart, seconds, disk, parameters)


def _training_step_seconds(module: L.LightningModule, data: L.LightningDataModule) -> float:
    module.training_steps = TRIAL_STEPS  # type: ignore[assignment]
    clock = _Clock()
    L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, datamodule=data)
    return (clock.ends[-1] - clock.ends[0]) / (TRIAL_STEPS - 1)  # the first step warms up


def _pricing_seconds(module: Classifier, sequence: LabelSequence) -> float:
    """Seconds to price one label once."""
    rows = torch.arange(min(PRICING_BATCH, sequence.num_labels))
    x = sequence.inputs(rows, torch.device("cpu"))
    assert isinstance(module, L.LightningModule)
    with torch.inference_mode(), evaluating(module):
        module.logits(x)  # warms up
        began = time.perf_counter()
        module.logits(x)
    return (time.perf_counter() - began) / len(rows)
