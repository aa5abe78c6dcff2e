"""Prequential and self-switch coding, steered through one ``trainer.fit``."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ibsuite.callbacks.averaging import WeightAverage
from ibsuite.callbacks.block_message import ReceivedBlocks, SentBlocks
from ibsuite.callbacks.checkpoint import check_resumable
from ibsuite.callbacks.kept_blocks import KeptBlocks
from ibsuite.callbacks.label_message import parameters_sha256
from ibsuite.callbacks.no_peeking import refuse_peeking
from ibsuite.callbacks.plan import Training, TrainingLength, plan_trainings, some_blocks, what_is_ahead
from ibsuite.callbacks.predictions import Predictions
from ibsuite.callbacks.pricing import check_logits, price, share_buffers
from ibsuite.callbacks.result import provenance, training_cost
from ibsuite.callbacks.retrain import Start
from ibsuite.callbacks.steps import ends_step
from ibsuite.callbacks.stop_rule import StopRule
from ibsuite.callbacks.transmission import PricedBlock, Transmission
from ibsuite.codes import check_blocks, codelength_bits, geometric_blocks
from ibsuite.interface import (
    Ahead,
    Classifier,
    Coordinates,
    LabelledInputs,
    LabelSequence,
    Refusal,
    Status,
    Stretch,
)
from ibsuite.seeds import derive_seed

KEPT = ("training", "stretch", "steps_done", "samples_seen",
        "stop_logits", "member_logits", "test_logits", "hashes", "networks")  # fmt: skip
"""What a checkpoint holds as it is."""


class PrequentialCode(L.Callback):
    """Codelength of labels that are sent block by block, each priced by a network trained before it.

    The first block is uniform. For each later one the method is trained on the labels already sent,
    and at a few stopping times it prices the labels of the block. The predictors (stopping times x
    temperatures, the uniform and the class-frequency predictor) are mixed by a proper prior: the
    self-switch code. With one stop, one temperature and no mixture this is the plain prequential
    code. After the last block a final model is trained on all labels.

    Source: Blier & Ollivier 2018, Algorithm 2 and Appendix E.2, with a mixture in place of the best
    sequence in hindsight.

    Args:
        first_block: labels in the first, uniform block.
        ratio: factor by which the labels sent grow from block to block.
        block_ends: block ends instead of ``first_block`` and ``ratio``, for example [10, 100, 1000].
        blocks: ``a:b``: train and price the blocks from a up to and without b alone, numbered as
            ``--dry_run`` shows them, the final model last; ``python -m ibsuite.merge`` makes one run of
            them. null: the whole run.
        epochs: passes over the labels already sent in each training.
        min_steps: optimiser steps of a training, at least.
        max_steps: optimiser steps of a training, at most.
        stops: shares of a training at which the next block is priced, the last one 1.
        temperatures: the logits are divided by each of these in turn.
        mixture: ``switch``: the switch distribution over all labels; ``block``: one Bayesian
            mixture per block; null: the plain prequential code, one stop and temperature 1.
        members: networks trained for each block, from initialisations of their own; their predicted
            probabilities are averaged.
        views: augmented views (``data.view_augment``) of each input over which the logits are
            averaged, beside the input itself; 0: none.
        start: ``fresh``: each training begins at a new initialisation; ``warm``: at the network of
            the block before, shrunk and perturbed.
        shrink: factor on the old weights of a warm start.
        perturb: factor on the new initialisation that is added to them.
        averaging: decay of the moving average of the weights that prices; null: no average.
        patience: stop a training after so many stops without improvement on labels already sent
            that were withheld from it; null: never.
        withheld: share of the labels already sent that is withheld where ``patience`` is set.
        settings_compared: how many settings were tried on these labels before this run was chosen;
            log2 of it is charged.
        final_model: train a last model on all labels, for test figures and model information.
        write_message: write the labels as bytes that ``python -m ibsuite.decode`` opens again.
        seed: of initialisations, shuffling and augmentation; taken from ``seed_everything``.

    Logs, against ``labels_sent``:

    | key | meaning |
    |---|---|
    | code/block_bits | bits of the block just priced, under the mixture |
    | code/bits_per_label | the same per label of the block |
    | code/accuracy | share of the block's labels that the mixture predicted |
    | code/sent_bits | bits of all labels sent so far, every charge included |
    | code/total_bits | the same, and the uniform code of the labels not sent yet |
    | code/compression_ratio | that over the uniform code of all labels |
    | code/first_block_bits, code/labels_bits, code/choices_bits | what each charge has come to, bits |
    | code/final_epoch_bits | of some blocks alone: bits of the block under its last stop, unmixed |
    """

    def __init__(
        self,
        first_block: int = 8,
        ratio: float = 2.0,
        block_ends: list[int] | None = None,
        blocks: str | None = None,
        epochs: float = 20.0,
        min_steps: int = 200,
        max_steps: int = 2000,
        stops: Sequence[float] = (0.25, 0.5, 1.0),
        temperatures: Sequence[float] = (0.7, 1.0, 1.4, 2.0),
        mixture: Literal["switch", "block"] | None = "switch",
        members: int = 1,
        views: int = 0,
        start: Literal["fresh", "warm"] = "fresh",
        shrink: float = 0.5,
        perturb: float = 0.5,
        averaging: float | None = None,
        patience: int | None = None,
        withheld: float = 0.1,
        settings_compared: int = 1,
        final_model: bool = True,
        write_message: bool = True,
        seed: int = 0,
    ) -> None:
        if mixture is None and (len(stops) != 1 or list(temperatures) != [1.0]):
            raise Refusal(
                "code.mixture=null needs exactly one stop and temperatures=[1.0]: a free choice is not a code"
            )
        if any(t <= 0 for t in temperatures) or not temperatures:
            raise Refusal(f"code.temperatures must be positive, got {list(temperatures)}")
        counts = {"views": (views, 0), "members": (members, 1), "settings_compared": (settings_compared, 1)}
        for name, (given, least) in counts.items():
            if given < least:
                raise Refusal(f"code.{name} must be at least {least}, got {given}")
        if blocks is not None and start == "warm":
            raise Refusal(
                "code.blocks needs code.start=fresh: a warm start begins where the last block ended"
            )
        self.first_block, self.ratio, self.block_ends, self.blocks = first_block, ratio, block_ends, blocks
        self.length = TrainingLength(epochs, min_steps, max_steps)
        self.stops, self.temperatures, self.mixture = list(stops), list(temperatures), mixture
        self.members, self.views, self.start = members, views, Start(start, shrink, perturb)
        self.average = WeightAverage(averaging) if averaging is not None else None
        self.stop_rule = StopRule(patience, withheld) if patience is not None else None
        self.settings_compared, self.final_model, self.seed = settings_compared, final_model, seed
        self.message = SentBlocks() if write_message and blocks is None else None
        self.receiver: ReceivedBlocks | None = None
        """Set before the fit by whoever decodes a message: the labels are then received instead of sent."""
        # Where the run is: which training, and which stretch of it comes next.
        self.trainings: list[Training] = []
        self.training, self.stretch, self.stretch_steps = 0, 0, 0
        self.steps_done, self.samples_seen, self.seconds_before = 0, 0, 0.0
        self.stop_logits: list[Tensor] = []  # of the training that goes on, stop by stop
        self.member_logits: list[Tensor] = []  # of the block's finished trainings, (stops, n, K) each
        self.test_logits: list[Tensor] = []  # of the final models
        self.hashes: list[str] = []
        self.networks: dict[int, list[Tensor]] = {}  # each member's at the end of its last training

    # Planning

    def plan(self, sequence: LabelSequence) -> list[Training]:
        """Every training of the whole run in order."""
        n, given = sequence.num_labels, self.block_ends
        ends = check_blocks(given, n) if given else geometric_blocks(n, self.first_block, self.ratio)
        if len(ends) < 2:
            raise Refusal(
                f"code.first_block={ends[0]} leaves nothing to price of {n} labels; make it smaller"
            )
        return plan_trainings(
            ends, self.length, sequence.batch_size, self.stops, self.final_model, self.members
        )

    def transmission(self, sequence: LabelSequence, plan: list[Training]) -> Transmission:
        """Who mixes the blocks of this plan, before any has been priced."""
        mixed = (len(self.stops), self.temperatures, self.mixture, self.settings_compared)
        return Transmission(Predictions(sequence, plan, *mixed), self.message)

    def ahead(self, sequence: LabelSequence) -> Ahead:
        """What a run would do."""
        predictors, fresh = len(self.stops) * len(self.temperatures) + 2, self.start.kind == "fresh"
        return what_is_ahead(some_blocks(self.plan(sequence), self.blocks), self.views, predictors, fresh)

    def status(self) -> Status:
        """Where the run is, for the progress bar."""
        training = self._now
        name = "final model" if training.final else f"block {training.block}"
        name += f", network {training.member + 1} of {self.members}" if self.members > 1 else ""
        text = f"{name} · {training.prefix} labels sent · {self.priced.so_far}"
        steps = [each.steps for each in self.trainings]
        return Status(sum(steps[: self.training]) + self.steps_done, sum(steps), text)

    @property
    def finished(self) -> bool:
        """Whether every training of the plan has been done."""
        return 0 < len(self.trainings) == self.training

    @property
    def _now(self) -> Training:
        return self.trainings[min(self.training, len(self.trainings) - 1)]

    @cached_property
    def test_split(self) -> LabelledInputs | None:
        """The test split, read when the final model is priced and not before."""
        try:
            return self.sequence.test_split()
        except Refusal as error:  # everything has been priced: that is not to be lost
            rank_zero_warn(f"no test figures: {error}")
            return None

    @property
    def _key(self) -> tuple[int, ...]:
        """What the randomness of the present stretch is derived from."""
        return (self.seed, self._now.block, self._now.member, 1 + self.stretch)

    @property
    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    # Lightning's hooks

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that method, data and trainer can be coded with, and plan the run."""
        if stage != "fit":
            return
        sequence = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(pl_module, Classifier) or not isinstance(sequence, LabelSequence):
            raise Refusal("prequential coding needs a method that classifies and labelled data")
        check_logits(pl_module, sequence)
        if self.start.kind == "warm" and isinstance(pl_module, Coordinates):
            raise Refusal("coordinates mean nothing in another block's subspace: use code.start=fresh")
        self.sequence, plan = sequence, self.plan(sequence)
        self.trainings = some_blocks(plan, self.blocks)
        self.message = self.receiver or self.message
        if self.message:
            self.message.connect(sequence, self.trainings)
        if self.views:
            sequence.inputs(torch.arange(1), torch.device("cpu"), 1)  # refuses now rather than later
        self.provenance = provenance(trainer.strategy.root_device)
        pl_module.training_steps = self._now.steps
        self.priced = KeptBlocks(sequence, plan) if self.blocks else self.transmission(sequence, plan)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Point the data at the first stretch, or at the one where a resumed run goes on."""
        self.began = time.monotonic()
        if self.message:
            self.message.begin()
        pl_module.training_steps = self._now.steps  # type: ignore[assignment]
        self.sequence.stretch = self._next_stretch()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse whatever watches a priced quantity; needs the optimisers, so not in ``setup``."""
        refuse_peeking(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a block's training anew, and seed the stretch."""
        self.stretch_steps = 0
        if self.stretch == 0:
            now = self._now
            old = self.networks.get(now.member, [])
            self.start.begin(trainer, pl_module, now.steps, (self.seed, now.block, now.member), old)
            if self.average:
                self.average.restart(pl_module)
            if self.stop_rule:
                self.stop_rule.restart()
        torch.manual_seed(derive_seed(*self._key, trainer.global_rank))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step and average the weights."""
        if not ends_step(trainer, batch_idx):
            return
        self.steps_done, self.stretch_steps = self.steps_done + 1, self.stretch_steps + 1
        self.samples_seen += self.sequence.batch_size
        if self.average:
            self.average.update(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Price the next block if the stretch ends at a stop, and move on."""
        if self.stretch_steps < self._next_stretch().steps:
            return  # something has stopped the run in the middle: the stretch is done again on resuming
        now, end = self._now, self._now.ends[self.stretch]
        stopped = end == now.steps
        if end in now.stops:
            share_buffers(trainer, pl_module)
            with self.average.applied(pl_module) if self.average else nullcontext():
                share_buffers(trainer, pl_module)  # an average of rank's own batch statistics, too
                stopped = self._price_stop(trainer, pl_module, now) or stopped
        self.stretch, self.stretch_steps = self.stretch + 1, 0
        if stopped:
            self._finish_training(trainer, pl_module, now)
            self.training, self.stretch, self.steps_done = self.training + 1, 0, 0
        if self.finished:
            trainer.should_stop = True
        else:
            self.sequence.stretch = self._next_stretch()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write result and message, if the run is complete; a receiver compares the parameters."""
        if not self.finished:
            return
        final_sha256 = trainer.strategy.broadcast(parameters_sha256(pl_module))
        if self.receiver:
            self.receiver.finish(final_sha256)
        elif trainer.is_global_zero:
            run, cost = (
                Path(trainer.default_root_dir),
                training_cost(trainer, self._seconds, self.samples_seen),
            )
            self.priced.write(run, self.seed, cost, self.provenance, final_sha256)

    # What happens at a stop and at the end of a training

    def _next_stretch(self) -> Stretch:
        now, ends = self._now, (0, *self._now.ends)
        rows = torch.arange(now.prefix)
        if self.stop_rule and not now.final:
            rows = self.stop_rule.split(now.prefix)[0]
        return Stretch(rows, ends[self.stretch + 1] - ends[self.stretch], derive_seed(*self._key))

    def _price_stop(self, trainer: L.Trainer, module: L.LightningModule, now: Training) -> bool:
        """Price the next block; True if the stop rule, which sees sent labels only, ends the training."""
        assert isinstance(module, Classifier)
        rows = torch.arange(0 if now.final else now.prefix, now.stop)
        self.stop_logits.append(price(trainer, module, self.sequence, rows, self.views))
        self.hashes.append(parameters_sha256(module))
        if now.final and self.test_split is not None:
            everything = torch.arange(self.test_split.num_labels)
            self.test_logits.append(price(trainer, module, self.test_split, everything, self.views))
        if not self.stop_rule or now.final or not len(withheld := self.stop_rule.split(now.prefix)[1]):
            return False
        logits = price(trainer, module, self.sequence, withheld)
        return self.stop_rule.should_stop(codelength_bits(logits, self.sequence.labels[withheld]))

    def _finish_training(self, trainer: L.Trainer, module: L.LightningModule, now: Training) -> None:
        """Keep what the network said; after a block's last one mix its predictors and log the cost."""
        # A training that its stop rule ended early: its last stop stands in for the rest.
        missing = len(now.stops) - len(self.stop_logits)
        self.member_logits.append(torch.stack(self.stop_logits + self.stop_logits[-1:] * missing))
        self.hashes += self.hashes[-1:] * missing
        self.networks[now.member] = self.start.snapshot(module)
        self.stop_logits = []
        if now.member < self.members - 1:
            return
        test = None
        if now.final and self.test_split is not None:
            test = torch.stack(self.test_logits), self.test_split.labels
        logits = torch.stack(self.member_logits, 1)
        row = self.priced.add(PricedBlock(now, logits, self.hashes, self._seconds, test))
        for logger in trainer.loggers if row else ():
            logger.log_metrics(row, step=trainer.global_step)
        self.member_logits, self.hashes = [], []

    # Resuming

    def _identity(self) -> list[str]:
        """What a run must share with a checkpoint to go on from it."""
        labels = self.message.identity if self.message else f"unsent {self.sequence.labels_sha256}"
        known = (
            self.seed,
            self.sequence.order_sha256,
            labels,
            self.trainings,
            self.temperatures,
            self.mixture,
        )
        return list(map(str, known))

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, and all that has been priced."""
        return {
            **{name: getattr(self, name) for name in KEPT},
            "identity": self._identity(),
            "stretch_steps": self.stretch_steps,
            "seconds": self._seconds,
            "priced": self.priced.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "stop_rule": self.stop_rule.state_dict() if self.stop_rule else {},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            Refusal: it was taken of another run, of a finished one, or inside a stretch.
        """
        check_resumable(state_dict, self._identity(), state_dict["training"] >= len(self.trainings))
        for name in KEPT:
            setattr(self, name, state_dict[name])
        self.seconds_before = state_dict["seconds"]
        self.priced.load_state_dict(state_dict["priced"])
        if self.average:
            self.average.load_state_dict(state_dict["average"])
        if self.stop_rule:
            self.stop_rule.load_state_dict(state_dict["stop_rule"])
