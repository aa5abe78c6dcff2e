"""One progress bar for a whole run."""

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ibsuite.interface import Coding


class CodingProgress(ProgressBar):
    """Optimiser steps of the whole run, with block, bits so far and compression ratio.

    On a terminal it is a bar; elsewhere a line is printed whenever a block has been priced.

    Args:
        interval: seconds between two updates.
    """

    def __init__(self, interval: float = 0.25) -> None:
        super().__init__()
        self.interval, self.shown, self.printed = interval, 0.0, ""
        self.enabled = True
        self.bar: Progress | None = None

    def disable(self) -> None:
        """Show nothing: what Lightning calls on all ranks but one."""
        self.enabled = False

    def enable(self) -> None:
        """Show again."""
        self.enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the bar."""
        self.coding = next((c for c in trainer.callbacks if isinstance(c, Coding)), None)  # type: ignore[attr-defined]
        if self.coding is None or not self.enabled:
            return
        status = self.coding.status()
        console = Console(stderr=True)
        self.bar = Progress(
            BarColumn(20),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(status.text, total=status.total, completed=status.done)
        self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if self.bar is not None and now - self.shown >= self.interval:
            self.shown = now
            self._show()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the bar; without a terminal, print a line when there is something new to say."""
        if self.bar is None:
            return
        text = self._show()
        if self.bar.disable and text != self.printed:
            self.printed = text
            print(text, file=sys.stderr, flush=True)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """End the bar, also when the run was interrupted."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _show(self) -> str:
        assert self.bar is not None
        assert self.coding is not None
        status = self.coding.status()
        self.bar.update(self.task, completed=status.done, description=status.text)
        return status.text
