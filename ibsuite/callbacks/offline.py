"""Codes whose model is trained once, on all labels, and then described to the receiver."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ibsuite.callbacks.averaging import WeightAverage
from ibsuite.callbacks.bottleneck import (
    bottleneck_figures,
    bottleneck_row,
    bottleneck_splits,
    report_bottleneck,
)
from ibsuite.callbacks.checkpoint import check_resumable, refuse_final
from ibsuite.callbacks.description import Description
from ibsuite.callbacks.finite import StopWhenNotFinite
from ibsuite.callbacks.label_message import write_message
from ibsuite.callbacks.layer_information import layer_row
from ibsuite.callbacks.no_peeking import refuse_peeking
from ibsuite.callbacks.plan import TrainingLength
from ibsuite.callbacks.pricing import check_logits, price, share_buffers
from ibsuite.callbacks.result import provenance, training_cost, write_result
from ibsuite.callbacks.retrain import Start, initialise
from ibsuite.callbacks.sent import receive_weights
from ibsuite.callbacks.steps import ends_step
from ibsuite.codes import codelength_bits, log2_probabilities
from ibsuite.coding import integer_probabilities
from ibsuite.interface import (
    Ahead,
    Classifier,
    LabelledInputs,
    LabelSequence,
    Refusal,
    Status,
    Stretch,
    TrainedLayerByLayer,
)
from ibsuite.seeds import derive_seed

SHORTEST_STRETCH = 250
"""Steps: a stretch is a whole number of passes over the labels, and at least about so long."""


class OfflineCode(L.Callback, ABC):
    """The method is trained on all labels; then model and labels are described together, in bits.

    What a subclass adds is ``describe``: what of the trained method is sent, and what the labels cost
    under just that. The test split is read afterwards, once.
    """

    code: str
    watched_stages = 1
    """Stages, from the first, along which the labels are priced now and then."""
    validation_labels = 0
    """Labels at the end of the order that are held out of the training; they are sent like all others."""
    test_bottleneck: Mapping[str, float] = {}

    def __init__(
        self,
        epochs: float,
        min_steps: int,
        max_steps: int,
        watched: int,
        views: int,
        settings_compared: int,
        seed: int,
        averaging: float | None = None,
    ) -> None:
        if views < 0 or watched < 0:
            raise Refusal(f"code.views and code.watched must be at least 0, got {views} and {watched}")
        if settings_compared < 1:
            raise Refusal(f"code.settings_compared must be at least 1, got {settings_compared}")
        self.average = WeightAverage(averaging) if averaging is not None else None
        self.length = TrainingLength(epochs, min_steps, max_steps)
        self.watched, self.views = watched, views
        self.settings_compared, self.seed = settings_compared, seed
        self.stages: list[tuple[str, int]] = []
        self.stage, self.steps_done = 0, 0
        self.samples_seen, self.seconds_before, self.stretch_steps = 0, 0.0, 0
        self.curve: list[dict[str, Any]] = []

    # What a code adds

    @abstractmethod
    def describe(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        """Describe the trained method and the labels; leave the method as it was described."""

    def receive(self, module: L.LightningModule, data: bytes) -> None:
        """Make the method what was described, from the bytes of its model; see ``receive_weights``."""
        initialise(module, (self.seed, 0, 0))  # what is drawn from the seed and not sent
        if isinstance(module, TrainedLayerByLayer):
            module.merge()  # there is no read-out beside what is sent
        receive_weights(module, data)

    def rows(self, sequence: LabelSequence) -> Tensor:
        """Positions of the labels that the method is trained on; a Refusal where there are none."""
        if not 0 <= self.validation_labels < sequence.num_labels:
            raise Refusal(
                f"code.validation_labels={self.validation_labels} leaves nothing of {sequence.num_labels} "
                "labels to train on; it must be at least 0, and less than that"
            )
        return torch.arange(sequence.num_labels - self.validation_labels)

    def augmented(self) -> bool:
        """Whether inputs are distorted in the present stage, where the data say how."""
        return True

    def plan(self, sequence: LabelSequence) -> list[tuple[str, int]]:
        """The stages of training: their names and optimiser steps."""
        return [("training", self.length.steps(len(self.rows(sequence)), sequence.batch_size))]

    def begin_stage(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin the present stage; the first one begins from a reproducible initialisation."""
        Start().begin(trainer, module, self.stages[self.stage][1], (self.seed, self.stage, 0))

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, float]:
        """One row of the curve along the training: the labels under the network as it is, without it."""
        logits, labels = self.price(trainer, module, self.sequence), self.sequence.labels
        found = {"label_bits": codelength_bits(logits, labels), "accuracy": accuracy(logits, labels)}
        if self.validation_labels:
            held_out = slice(-self.validation_labels, None)
            found["validation_error_percent"] = 100 * (1 - accuracy(logits[held_out], labels[held_out]))
        known = (module, self.sequence, self.rows(self.sequence))
        return found | bottleneck_row(bottleneck_splits(trainer, *known)) | layer_row(*known)

    def test_figures(
        self, trainer: L.Trainer, module: L.LightningModule, test: LabelledInputs, temperature: float
    ) -> dict[str, float]:
        """Figures on the test split: accuracy and bits."""
        self.test_bottleneck = bottleneck_figures(trainer, module, test)
        logits = self.price(trainer, module, test)
        bits = codelength_bits(logits, test.labels, temperature)
        return {"accuracy": accuracy(logits, test.labels), "nll_bits": bits}

    def hand_over(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Leave further files in the run folder, before ``codelength.json``; called on every rank."""
        rows = self.rows(self.sequence)
        if row := report_bottleneck(trainer, module, self.sequence, rows, self.test_bottleneck):
            self.tell_loggers(trainer, row)

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse a method that this code cannot describe; in one sentence, before anything is trained."""

    # Where the run is

    def ahead(self, sequence: LabelSequence) -> Ahead:
        """What a run would do."""
        n, trained = sequence.num_labels, len(self.rows(sequence))
        rows = [(name, trained, "everything" if i == 0 else "the same again", steps)
                for i, (name, steps) in enumerate(self.plan(sequence))]  # fmt: skip
        return Ahead(rows, priced=n * (self.views + 1) * (self.watched + self.readings), predictors=1)

    @property
    def readings(self) -> int:
        """How often the labels are priced to describe the trained method."""
        return 1

    @property
    def finished(self) -> bool:
        """Whether every stage has been done."""
        return 0 < len(self.stages) == self.stage

    def status(self) -> Status:
        """Where the run is, for the progress bar."""
        before = sum(steps for _, steps in self.stages[: self.stage])
        name = self.stages[min(self.stage, len(self.stages) - 1)][0]
        text = f"{name} · {self.sequence.num_labels} labels"
        last: dict[str, Any] = next((row for row in reversed(self.curve) if "epoch" in row), {})
        bits = [
            f"{key.removesuffix('_bits')} {last[key]:.0f} bit"
            for key in last
            if key.endswith("_bits") and "/" not in key
        ]
        text = " · ".join([text, *bits])
        return Status(before + self.steps_done, sum(steps for _, steps in self.stages), text)

    @property
    def seconds(self) -> float:
        """Since the run began, interruptions left out."""
        return self.seconds_before + time.monotonic() - self.began

    def tell_loggers(self, trainer: L.Trainer, row: Mapping[str, float]) -> None:
        """Hand a row to every logger."""
        for logger in trainer.loggers:
            logger.log_metrics(dict(row), step=trainer.global_step)

    def price(self, trainer: L.Trainer, module: L.LightningModule, data: LabelledInputs) -> Tensor:
        """Logits of everything in ``data``, (n, K), on the CPU."""
        assert isinstance(module, Classifier)
        return price(trainer, module, data, torch.arange(data.num_labels), self.views)

    # Lightning's hooks

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that method and data can be coded, and plan the run."""
        if stage != "fit":
            return
        sequence = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(pl_module, Classifier) or not isinstance(sequence, LabelSequence):
            raise Refusal(f"{type(self).__name__} needs a method that classifies and labelled data")
        self.check(pl_module, sequence)
        check_logits(pl_module, sequence)
        if self.views:
            sequence.inputs(torch.arange(1), torch.device("cpu"), 1)  # refuses now rather than later
        missing = set(range(sequence.num_classes)) - set(sequence.labels.unique().tolist())
        if missing:
            rank_zero_warn(
                f"class {min(missing)} does not occur among the labels; the code keeps a place for it"
            )
        self.sequence, self.stages = sequence, self.plan(sequence)
        self.provenance = provenance(trainer.strategy.root_device)
        pl_module.training_steps = self.stages[0][1]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Point the data at the first stretch, or at the one where a resumed run goes on."""
        self.began = time.monotonic()
        pl_module.training_steps = self.stages[self.stage][1]  # type: ignore[assignment]
        self.sequence.stretch = self._next_stretch()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse whatever watches a priced quantity, as everywhere."""
        refuse_peeking(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a stage, and seed the stretch."""
        self.stretch_steps = 0
        if self.steps_done == 0:
            self.begin_stage(trainer, pl_module)
            if self.average:
                self.average.restart(pl_module)
        torch.manual_seed(derive_seed(*self._key, trainer.global_rank))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step and average the weights."""
        if not ends_step(trainer, batch_idx):
            return
        self.stretch_steps += 1
        self.samples_seen += self.sequence.batch_size
        if self.average:
            self.average.update(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move on; after the last stretch describe what has been learnt."""
        if self.stretch_steps < self._next_stretch().steps:
            return  # something has stopped the run in the middle: the stretch is done again on resuming
        StopWhenNotFinite().on_train_epoch_end(trainer, pl_module)  # before it is described
        self.steps_done, self.stretch_steps = self.steps_done + self.stretch_steps, 0
        self._watch(trainer, pl_module)
        if self.average and self.steps_done == self.stages[self.stage][1]:
            self.average.write(pl_module)  # what the next stage begins with, or what is described
        if self.steps_done == self.stages[self.stage][1]:
            if isinstance(pl_module, TrainedLayerByLayer):
                pl_module.merge()
                trainer.strategy.setup_optimizers(trainer)  # for parameters that are still there
            self.stage, self.steps_done = self.stage + 1, 0
        if self.finished:
            share_buffers(trainer, pl_module)
            self._finish(trainer, pl_module)
            trainer.should_stop = True
        else:
            self.sequence.stretch = self._next_stretch()

    def _watch(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Add a row to the curve where one of ``watched`` evenly spread points has been passed."""
        steps = [steps for _, steps in self.stages[: self.watched_stages]]
        if not self.watched or self.stage >= len(steps):
            return
        done, watched = sum(steps[: self.stage]) + self.steps_done, len(self.curve)
        if done * self.watched < (watched + 1) * sum(steps):
            return
        epoch = done * self.sequence.batch_size / len(self.rows(self.sequence))
        with self.average.applied(module) if self.average else nullcontext():
            share_buffers(trainer, module)  # an average of rank's own batch statistics, too
            found = self.measure(trainer, module)
        self.curve.append({"epoch": epoch, **found})
        renamed = {"total_bits": "length_bits"}  # a total is known at the end, when choices are charged
        named = {key if "/" in key else f"code/{renamed.get(key, key)}": bits for key, bits in found.items()}
        self.tell_loggers(trainer, {"epoch": epoch, **named})

    def _finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        try:
            described = self.describe(trainer, module)
        except ValueError as error:  # how the rooms of pure mathematics refuse
            raise Refusal(f"the trained network cannot be sent: {error}") from error
        choices = math.log2(self.settings_compared) + math.log2(described.alternatives)
        if choices:
            described.charges["choices"] = choices
            described.compared = {name: bits + choices for name, bits in described.compared.items()}
        try:
            split = self.sequence.test_split()
            given = described.temperature
            test = None if split is None else self.test_figures(trainer, module, split, given)
        except Refusal as error:  # everything has been priced: that is not to be lost
            rank_zero_warn(f"no test figures: {error}")
            test = None
        self.hand_over(trainer, module)
        total = math.fsum(described.charges.values())
        self.tell_loggers(trainer, {"code/total_bits": total})
        cost = training_cost(trainer, self.seconds, self.samples_seen)
        if not trainer.is_global_zero:
            return
        run, n = Path(trainer.default_root_dir), self.sequence.num_labels
        label_bits, log2_probs = described.charges["labels"], described.log2_probs
        part = {"start": 0, "stop": n, "bits": label_bits, "bits_per_label": label_bits / n,
                "accuracy": described.accuracy, "steps": sum(steps for _, steps in self.stages)}  # fmt: skip
        message = {}
        if described.weights is not None and described.logits is not None:
            counts = integer_probabilities(log2_probabilities(described.logits, described.temperature))
            message = write_message(run, self.sequence, self.code, counts, self.provenance,
                                    temperature=described.temperature, weights=described.weights)  # fmt: skip
        write_result(
            run,
            self.sequence,
            code=self.code,
            charges=described.charges,
            compared={**described.compared, **described.sent},
            parts=[part],
            curve=[*self.curve, *described.curve],
            labels={
                "log2_probs": log2_probs.numpy(),
                "names": [f"draw {draw + 1}" for draw in range(len(log2_probs))],
            },
            model_information_bits=total - label_bits,
            standard_error_bits=described.standard_error_bits,
            test=test,
            cost=cost,
            seed=self.seed,
            **message,
            **self.provenance,
        )

    # Stretches and resuming

    @property
    def _key(self) -> tuple[int, ...]:
        return (self.seed, self.stage, 0, 1 + self.steps_done)

    def _next_stretch(self) -> Stretch:
        steps = self.stages[self.stage][1]
        rows = self.rows(self.sequence)
        one_pass = max(1, round(len(rows) / self.sequence.batch_size))
        usual = one_pass * max(1, round(SHORTEST_STRETCH / one_pass))
        steps = min(usual, steps - self.steps_done)
        return Stretch(rows, steps, derive_seed(*self._key), self.augmented())

    def _identity(self) -> list[str]:
        data = (self.sequence.order_sha256, self.sequence.labels_sha256)
        averaging = [f"averaging {self.average.decay}"] if self.average else []
        held_out = [f"held out {self.validation_labels}"] if self.validation_labels else []
        return [type(self).__name__, str(self.seed), *data, str(self.stages), *averaging, *held_out]

    def state_dict(self) -> dict[str, Any]:
        """Where the run is."""
        return {
            "identity": self._identity(),
            "stretch_steps": self.stretch_steps,
            "stage": self.stage,
            "steps_done": self.steps_done,
            "samples_seen": self.samples_seen,
            "seconds": self.seconds,
            "curve": self.curve,
            "average": self.average.state_dict() if self.average else {},
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint of another code, which holds nothing for ``load_state_dict``."""
        refuse_final(checkpoint)
        if self.state_key not in checkpoint["callbacks"]:
            raise Refusal("the checkpoint belongs to another code; start anew with --overwrite")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            Refusal: it was taken of another run, of a finished one, or inside a stretch.
        """
        check_resumable(state_dict, self._identity(), state_dict["stage"] >= len(self.stages))
        self.stage, self.steps_done = state_dict["stage"], state_dict["steps_done"]
        self.samples_seen, self.seconds_before = state_dict["samples_seen"], state_dict["seconds"]
        self.curve = state_dict["curve"]
        if self.average:
            self.average.load_state_dict(state_dict["average"])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the labels that are the most probable class, (n, K) and (n,)."""
    return float((log2_probabilities(logits).argmax(1) == labels).double().mean())
