"""From a network with gates to a smaller one, and both described: removal, fine-tuning, the two-part code."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite.callbacks.compression_report import gate_report, report_compression
from ibsuite.callbacks.description import Description
from ibsuite.callbacks.messages import check_temperatures, describe_shortest
from ibsuite.callbacks.offline import OfflineCode, accuracy
from ibsuite.callbacks.pricing import PRICING_BATCH, evaluating, full_float32, share_buffers
from ibsuite.callbacks.rates import Rates
from ibsuite.callbacks.retrain import restart
from ibsuite.callbacks.sent import receive_weights, sent_tensors
from ibsuite.coding import WeightStream, decode_weights, encode_weights, stream_length
from ibsuite.interface import GatedUnits, LabelledInputs, LabelSequence, Refusal

PRETRAINING, COMPRESSION, FINETUNING = "pretraining", "compression", "fine-tuning"
CHECKED_INPUTS, INFORMATION_INPUTS = 2048, 10_000
TOLERANCE = 1e-4
"""Greatest difference of logits after the removal, as a share of the greatest logit."""


class PrunedNetworkCode(OfflineCode):
    """Codelength of a network that has lost its dead units, as a file, and of the labels under just it.

    A method with gates on its units (VIBNet) is trained with open gates if asked, then under the price of
    their rates. Units whose gates are shut are removed: what is left is a dense network of its own, whose
    logits are compared with those of the masked one. It is trained on if asked, saved for
    ``ibsuite.nn.load_network``, and described: which units of the full network it has, its weights on the
    shortest of several grids, and the labels.

    The run folder gets ``network/`` and ``compression.json``: sizes, costs, errors before and after the
    fine-tuning, latencies, and the gates.

    Source: Dai, Zhu, Guo & Wipf 2018 (VIBNet), for the network; Blier & Ollivier 2018, Definition 1, for the
    length.

    Args:
        pretrain_epochs: passes over the labels with open gates first; 0: none.
        epochs: passes over the labels under the price of the rates.
        finetune_epochs: passes over the labels after the removal; 0: none.
        finetune_rate: learning rate of the fine-tuning, as a share of the training's.
        finetune_weight_decay: of the fine-tuning; null: the training's.
        augment_finetuning_only: distort inputs (``data.augment``) in the fine-tuning alone; a network that
            has to explain distorted inputs as well keeps more units.
        validation_labels: labels at the end of the order that are never trained on, to choose settings by;
            they are sent like all others.
        sparsities: shares of the weights that are left that are pruned as well.
        steps: of a uniform grid, in standard deviations of the weights that are left in a tensor.
        levels: entries of a k-means codebook, zero among them; an alternative to ``steps``.
        temperatures: the logits are divided by one of these.
        min_steps: optimiser steps under the price, at least.
        max_steps: optimiser steps of each stage, at most.
        watched: how many times along the run labels and gates are looked at.
        views: augmented views (``data.view_augment``) of each input over which the logits are
            averaged, beside the input itself; 0: none.
        settings_compared: how many settings were tried on these labels before this run was chosen;
            log2 of it is charged.
        seed: of initialisation, shuffling, augmentation and noise; taken from ``seed_everything``.

    Logs, against ``epoch``:

    | key | meaning |
    |---|---|
    | code/label_bits | bits of the labels under the network as it is; where ``watched`` |
    | code/accuracy | share of the labels that it predicts; where ``watched`` |
    | code/validation_error_percent | of the held-out labels; where there are any |
    | gates/PLACE/kept | units that are left behind the layer PLACE |
    | gates/PLACE/rate_bits | rate of its gate, bits a sample |
    | code/total_bits | at the end: network, labels and choices |
    """

    code = "two_part"
    watched_stages = 3

    def __init__(
        self,
        pretrain_epochs: float = 0.0,
        epochs: float = 20.0,
        finetune_epochs: float = 0.0,
        finetune_rate: float = 1.0,
        finetune_weight_decay: float | None = None,
        augment_finetuning_only: bool = False,
        validation_labels: int = 0,
        sparsities: Sequence[float] = (0.0,),
        steps: Sequence[float] = (0.125, 0.25, 0.5),
        levels: Sequence[int] = (),
        temperatures: Sequence[float] = (1.0,),
        min_steps: int = 200,
        max_steps: int = 100_000,
        watched: int = 20,
        views: int = 0,
        settings_compared: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, min_steps, max_steps, watched, views, settings_compared, seed)
        if min(pretrain_epochs, finetune_epochs) < 0 or finetune_rate <= 0:
            raise Refusal(
                "code.pretrain_epochs and code.finetune_epochs must be at least 0, and code.finetune_rate "
                f"positive; got {pretrain_epochs}, {finetune_epochs} and {finetune_rate}"
            )
        self.pretrain_epochs, self.finetune_epochs = pretrain_epochs, finetune_epochs
        self.finetune_rate, self.validation_labels = finetune_rate, validation_labels
        self.finetune_weight_decay = finetune_weight_decay
        self.augment_finetuning_only = augment_finetuning_only
        self.rates = Rates(list(sparsities), list(steps), list(levels))
        self.temperatures = check_temperatures(temperatures)
        self.removal: dict[str, Any] | None = None  # what was found when units were removed
        self.finetuned: dict[str, Tensor] = {}
        self.test_errors: dict[str, float] | None = None

    # Stages

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse a method without gates."""
        if not isinstance(module, GatedUnits):
            raise Refusal(
                f"a network is pruned by a method with gates on its units, such as VIBNet, not "
                f"{type(module).__name__}"
            )
        self.full = copy.deepcopy(module.network)

    def augmented(self) -> bool:
        """Whether inputs are distorted in the present stage."""
        return not self.augment_finetuning_only or self.stages[self.stage][0] == FINETUNING

    def plan(self, sequence: LabelSequence) -> list[tuple[str, int]]:
        """Pretraining where it is asked for, compression, and fine-tuning where it is asked for."""
        ((_, steps),) = super().plan(sequence)

        def passes(epochs: float) -> int:
            wanted = round(epochs * len(self.rows(sequence)) / sequence.batch_size)
            return min(max(wanted, 1), self.length.max_steps)

        before = [(PRETRAINING, passes(self.pretrain_epochs))] if self.pretrain_epochs else []
        after = [(FINETUNING, passes(self.finetune_epochs))] if self.finetune_epochs else []
        return [*before, (COMPRESSION, steps), *after]

    @property
    def readings(self) -> int:
        """At every rate."""
        return len(self.rates.settings())

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Point the data at the first stretch, and tell the method whether rates count now."""
        super().on_fit_start(trainer, pl_module)
        assert isinstance(pl_module, GatedUnits)
        pl_module.compressing = self.stages[self.stage][0] == COMPRESSION

    def begin_stage(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin the present stage; in front of the fine-tuning the dead units are removed."""
        assert isinstance(module, GatedUnits)
        name, steps = self.stages[self.stage]
        module.compressing = name == COMPRESSION
        if self.stage == 0:
            super().begin_stage(trainer, module)
        elif name == COMPRESSION:
            restart(trainer, module, steps)
        else:
            self._remove(trainer, module)
            restart(trainer, module, steps, self.finetune_rate, self.finetune_weight_decay)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move on; a layer without a living unit ends the run."""
        assert isinstance(pl_module, GatedUnits)
        if self.stages[self.stage][0] == COMPRESSION:
            for reading in pl_module.gate_readings():
                if not reading.kept.any():
                    raise Refusal(
                        f"all {len(reading.kept)} units at {reading.place!r} have died at step "
                        f"{trainer.global_step}, and with them every prediction: lower model.gamma, or the "
                        "layer's factor in model.layer_gammas, or let gamma rise more slowly "
                        "(model.gamma_warmup)"
                    )
        super().on_train_epoch_end(trainer, pl_module)

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, float]:
        """Labels, the held-out ones, and the gates."""
        assert isinstance(module, GatedUnits)
        found = super().measure(trainer, module)
        for reading in module.gate_readings():
            found[f"gates/{reading.place}/kept"] = float(reading.kept.sum())
            found[f"gates/{reading.place}/rate_bits"] = reading.rate_bits
        return found

    # Removal

    def _remove(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Remove the dead units, and check that nothing else has changed."""
        assert isinstance(module, GatedUnits)
        share_buffers(trainer, module)
        informed = self.rows(self.sequence)[:INFORMATION_INPUTS]
        gates = gate_report(module, self.sequence, informed, self.seed)
        masked = self._logits(module)
        module.remove_units()
        small = self._logits(module)
        difference, greatest = float((small - masked).abs().max()), float(masked.abs().max())
        if not difference <= TOLERANCE * max(1.0, greatest):
            raise Refusal(
                f"the network without its dead units disagrees with the masked one by {difference:.2g} in "
                f"logits of up to {greatest:.2g}; please report this network"
            )
        self.removal = {
            "gates": gates,
            "max_logit_difference": difference,
            "state": {name: value.detach().cpu().clone() for name, value in module.state_dict().items()},
        }

    def _logits(self, module: Any) -> Tensor:
        """Logits of the first inputs, on this rank."""
        rows = torch.arange(min(CHECKED_INPUTS, self.sequence.num_labels))
        with torch.inference_mode(), full_float32(module.device), evaluating(module):
            parts = [module.logits(self.sequence.inputs(p, module.device)) for p in rows.split(PRICING_BATCH)]
        return torch.cat(parts).float().cpu().clone()

    # What is described and left behind

    def describe(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        """Which units are left, the small network at the shortest rate, and the labels."""
        assert isinstance(module, GatedUnits)
        if module.unit_signs is None:
            self._remove(trainer, module)
        trained = sent_tensors(module)
        self.finetuned = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
        messages = ((rate, self.rates.message(trained, rate)) for rate in self.rates.settings())
        head = self._units(module)
        return describe_shortest(self, trainer, module, messages, trained.buffers, self.temperatures, head)

    def receive(self, module: L.LightningModule, data: bytes) -> None:
        """Remove the units that the first stream names, and read the small network from the second."""
        assert isinstance(module, GatedUnits)
        shapes = {reading.place: reading.kept.shape for reading in module.gate_readings()}
        signs = {
            name: sent for name, sent in decode_weights(data, shapes).items() if isinstance(sent, Tensor)
        }
        module.remove_units(signs)
        receive_weights(module, data[stream_length(data) :])

    def _units(self, module: GatedUnits) -> WeightStream:
        """Which units of the full network are left, as a stream in front of the weights."""
        assert module.unit_signs is not None
        stream = encode_weights(module.unit_signs)
        framing = stream.charges["framing"]
        return WeightStream(stream.data, {"mask": sum(stream.charges.values()) - framing, "framing": framing})

    def test_figures(
        self, trainer: L.Trainer, module: L.LightningModule, test: LabelledInputs, temperature: float
    ) -> dict[str, float]:
        """Of the network as it is described; beside them the errors of the networks that are left behind."""
        found = super().test_figures(trainer, module, test, temperature)
        self.test_errors = self._errors(trainer, module, test, slice(None))
        return found

    def _errors(
        self, trainer: L.Trainer, module: L.LightningModule, data: LabelledInputs, part: slice
    ) -> dict[str, float]:
        """Percent of wrong predictions of the small network as it was removed, and as it is at the end."""
        assert self.removal is not None
        described = {name: value.detach().clone() for name, value in module.state_dict().items()}
        errors = {}
        for name, state in (("removed", self.removal["state"]), ("finetuned", self.finetuned)):
            module.load_state_dict(state)
            logits = self.price(trainer, module, data)[part]
            errors[name] = 100 * (1 - accuracy(logits, data.labels[part]))
        module.load_state_dict(described)
        return errors

    def hand_over(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save the small network and write ``compression.json``."""
        assert isinstance(module, GatedUnits)
        assert self.removal is not None
        held_out = slice(-self.validation_labels, None)
        validation = (
            self._errors(trainer, module, self.sequence, held_out) if self.validation_labels else None
        )
        if not trainer.is_global_zero:
            return
        small = copy.deepcopy(module.network)
        small.load_state_dict({name: self.finetuned[f"network.{name}"] for name in small.state_dict()})
        report_compression(
            Path(trainer.default_root_dir),
            self.full.to(module.device),
            small,
            self.sequence,
            max_logit_difference=self.removal["max_logit_difference"],
            validation_error_percent=validation,
            test_error_percent=self.test_errors,
            gates=self.removal["gates"],
        )

    # Resuming

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, and what was found when units were removed."""
        return {**super().state_dict(), "removal": self.removal}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        super().load_state_dict(state_dict)
        self.removal = state_dict["removal"]
