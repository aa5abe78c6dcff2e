"""Weights & Biases, which never stops a run."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from ibsuite import record

RUN_ID = "wandb/run_id"
STEP = "trainer/global_step"
STOP_SECONDS = 40.0
"""W&B's agents kill after 30 seconds what they have stopped: what lives longer was ended by somebody else."""


class WeightsAndBiases(Logger):
    """One W&B run a fit, on rank 0 only; offline unless the user is logged in.

    Bits are drawn against ``labels_sent``. Whatever goes wrong in W&B is said once, and the fit goes
    on: ``metrics.csv`` holds the same numbers. A run that is gone on with logs each row once: early
    termination counts them. A trial of a sweep that is terminated asks for a place in the queue.

    Args:
        project: W&B project.
        entity: W&B user or team; null: the user's own default.
        mode: ``auto``: online if an API key is found, else offline. ``WANDB_MODE`` overrides it.
        tags: tags of the run.
    """

    def __init__(
        self,
        project: str = "ibsuite",
        entity: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        tags: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.project, self.entity, self.mode, self.tags = project, entity, mode, tags
        self.folder, self.title, self.group = Path(), "run", "ibsuite"
        self.config: dict[str, Any] = {}
        self.broken = False
        self._run: Any = None
        self._gone_on_from, self._logged_before = -1, -1  # steps: of the checkpoint, of the server's last row
        self._stopped, self._terminated = threading.Event(), False

    @property
    def name(self) -> str:
        """The project."""
        return self.project

    @property
    def version(self) -> str:
        """The run's id, the same when the run is gone on with."""
        file = self.folder / RUN_ID
        if "WANDB_RUN_ID" in os.environ:  # a sweep's agent has given the run its id
            return os.environ["WANDB_RUN_ID"]
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(os.urandom(4).hex())
        return file.read_text()

    def describe(self, folder: Path, title: str, group: str, config: dict[str, Any]) -> None:
        """Say which run this is before it starts.

        Args:
            folder: the run folder; W&B's files go to ``wandb/`` in it.
            title: the run's name.
            group: the experiment.
            config: settings under the names that the command line has for them.
        """
        self.folder, self.title, self.group, self.config = folder, title, group, config

    def resume(self, step: int) -> None:
        """Go on from this optimiser step."""
        self._gone_on_from = step

    def begin(self) -> None:
        """Begin the W&B run now, so that it is there to be watched from the start."""
        self._safely(lambda: self.run)

    @property
    def run(self) -> Any:
        """The W&B run, begun at first use."""
        if self._run is None:
            import wandb

            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                dir=self.folder,
                id=self.version,
                resume="allow",
                name=self.title,
                group=self.group,
                tags=self.tags,
                mode=self._mode(),
                settings=wandb.Settings(
                    silent=True, x_disable_stats=self._mode() != "online", stop_fn=self._stop
                ),
            )
            if self._run.resumed:
                self._catch_up()
            # Under a sweep the agent has set some keys already, and has locked them.
            self._run.config.update(
                {key: value for key, value in self.config.items() if key not in self._run.config}
            )
            self._run.define_metric("labels_sent")
            self._run.define_metric("code/*", step_metric="labels_sent")
        return self._run

    def _catch_up(self) -> None:
        """Send what an earlier process has logged and could not send before it was killed."""
        self._logged_before = self._run.summary.get(STEP, -1)
        table = self.folder / record.METRICS
        for row in record.read_csv(table) if table.is_file() and self._gone_on_from >= 0 else ():
            if self._logged_before < row[STEP] <= self._gone_on_from:
                self._run.log({key: value for key, value in row.items() if value is not None})
        self._logged_before = max(self._logged_before, self._gone_on_from)

    def _mode(self) -> Any:
        if "WANDB_MODE" in os.environ:
            return os.environ["WANDB_MODE"]
        if self.mode != "auto":
            return self.mode
        import wandb

        return "online" if wandb.login(prompt=False) else "offline"

    @rank_zero_only
    def _safely(self, action: Callable[[], Any]) -> None:
        if self.broken:
            return
        try:
            action()
        except Exception as error:
            self.broken = True
            rank_zero_warn(
                f"W&B is left out of this run ({type(error).__name__}: {error}); metrics.csv goes on"
            )

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``describe`` has given the resolved settings."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars against the optimiser step and, where they have it, ``labels_sent``."""

        def action() -> None:
            run = self.run
            if step is None or step > self._logged_before:
                run.log(metrics if step is None else {**metrics, STEP: step})

        self._safely(action)

    def log_result(self, summary: dict[str, float], parts: list[dict[str, Any]], figures: list[Path]) -> None:
        """Log final numbers as the summary, the parts as a table, and the figures."""

        def action() -> None:
            import wandb

            columns = list(parts[0]) if parts else []
            table = wandb.Table(columns=[*columns], data=[[part[key] for key in columns] for part in parts])
            images = {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
            self.run.log({"code/parts": table, **images})
            self.run.summary.update(summary)

        self._safely(action)

    def _stop(self) -> None:
        """What W&B calls when the server wants the run to stop, as early termination does."""
        self._stopped.set()
        if not self._terminated:
            os.kill(os.getpid(), signal.SIGINT)

    def preempted(self) -> None:
        """Have a terminated trial of a sweep queued again, unless the server itself has stopped it."""
        self._terminated = True

        def action() -> None:
            waiting = self._run is not None and "WANDB_SWEEP_ID" in os.environ and self._mode() == "online"
            if waiting and not self._stopped.wait(STOP_SECONDS):
                self._run.mark_preempting()

        self._safely(action)

    def close(self, exit_code: int = 0) -> None:
        """End the W&B run and wait until it is on disk."""

        def action() -> None:
            if self._run is not None:
                import wandb

                self._run.finish(exit_code=exit_code)
                wandb.teardown()
                self._run = None
                where = f" (upload it with `wandb sync {self.folder / 'wandb'}/offline-run-*`)"
                rank_zero_info(f"W&B run {self.version}{where if self._mode() == 'offline' else ''}")

        self._safely(action)
