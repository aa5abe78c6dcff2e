"""Network compression as a two-part code: prune, quantise, entropy-code, then the labels."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch

from ibsuite.callbacks.description import Description
from ibsuite.callbacks.messages import check_temperatures, describe_shortest
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.callbacks.pricing import share_buffers
from ibsuite.callbacks.rates import Rates
from ibsuite.callbacks.retrain import restart
from ibsuite.callbacks.sent import narrowed, sent_tensors
from ibsuite.callbacks.straight_through import StraightThrough
from ibsuite.interface import LabelSequence, QuantisedMethod, Refusal


class NetworkCompressionCode(OfflineCode):
    """Codelength of a pruned and quantised network as a file, and of the labels under just that network.

    After an ordinary training the smallest weights are pruned, each tensor is quantised with a grid
    or a codebook of its own, and the integers are entropy-coded. Of all rates given (sparsity x step
    or levels x temperature) the one with the shortest *total* counts, and log2 of their number is
    charged. With fine-tuning the rate is chosen first; then weights and codebooks are trained on.

    Source: Blier & Ollivier 2018, section 3.1, after Han et al. 2015; with the labels, which their
    table leaves out.

    Args:
        sparsities: shares of the weights that are pruned, the smallest over the whole network.
        steps: of a uniform grid, in standard deviations of the weights that are left in a tensor.
        levels: entries of a k-means codebook, zero among them; an alternative to ``steps``.
        finetune_epochs: passes over the labels after quantising; 0: none.
        finetune_rate: learning rate of the fine-tuning, as a share of the training's.
        temperatures: the logits are divided by one of these.
        epochs: passes over the labels.
        min_steps: optimiser steps, at least.
        max_steps: optimiser steps, at most.
        watched: how many times during the training the labels are priced under the network as it is.
        views: augmented views (``data.view_augment``) of each input over which the logits are
            averaged, beside the input itself; 0: none.
        settings_compared: how many settings were tried on these labels before this run was chosen;
            log2 of it is charged.
        averaging: decay of the moving average of the weights, which is what is described; null: no average.
        seed: of initialisation, shuffling and augmentation; taken from ``seed_everything``.

    Logs, against ``epoch``:

    | key | meaning |
    |---|---|
    | code/label_bits | bits of the labels under the network as it is; where ``watched`` |
    | code/accuracy | share of the labels that it predicts; where ``watched`` |
    | code/total_bits | at the end: network, labels and choices |
    """

    code = "network_compression"
    coarse_dimensions = 2
    """Tensors with fewer dimensions are quantised finely, whatever the rate."""

    def __init__(
        self,
        sparsities: Sequence[float] = (0.0, 0.5, 0.8, 0.9),
        steps: Sequence[float] = (0.25, 0.5, 1.0),
        levels: Sequence[int] = (),
        finetune_epochs: float = 0.0,
        finetune_rate: float = 0.1,
        temperatures: Sequence[float] = (1.0,),
        epochs: float = 20.0,
        min_steps: int = 200,
        max_steps: int = 100_000,
        watched: int = 0,
        views: int = 0,
        settings_compared: int = 1,
        averaging: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, min_steps, max_steps, watched, views, settings_compared, seed, averaging)
        if finetune_epochs < 0 or finetune_rate <= 0:
            raise Refusal(
                f"code.finetune_epochs must be at least 0 and code.finetune_rate positive, "
                f"got {finetune_epochs} and {finetune_rate}"
            )
        self.rates = Rates(list(sparsities), list(steps), list(levels), self.coarse_dimensions)
        self.finetune_epochs, self.finetune_rate = finetune_epochs, finetune_rate
        self.temperatures = check_temperatures(temperatures)
        self.rate: dict[str, Any] = {}  # the one that is fine-tuned
        self.quantiser: StraightThrough | None = None

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse weights that are quantised already, or that have two places."""
        if isinstance(module, QuantisedMethod):
            raise Refusal(
                f"{type(module).__name__} quantises its weights itself: use --code=TwoPartCode "
                f"with code.formats=[quantised]"
            )
        places = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
        if len(set(places)) < len(places):
            raise Refusal("two layers share a weight, which would be sent and quantised twice; untie them")

    def plan(self, sequence: LabelSequence) -> list[tuple[str, int]]:
        """Training, and fine-tuning where it is asked for."""
        stages = super().plan(sequence)
        if self.finetune_epochs:
            passes = self.finetune_epochs * sequence.num_labels / sequence.batch_size
            stages.append(("fine-tuning", min(max(round(passes), 1), self.length.max_steps)))
        return stages

    @property
    def readings(self) -> int:
        """At every rate, and once more after fine-tuning."""
        return len(self.rates.settings()) + bool(self.finetune_epochs)

    def describe(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        """The shortest rate, or the fine-tuned network at the rate that was chosen before."""
        if self.quantiser is None:
            return self._shortest(trainer, module)
        trained = sent_tensors(module)
        self.quantiser.coarsen(module)
        floats = {name: narrowed(value, torch.float16) for name, value in trained.items()}
        message = floats | self.quantiser.quantised
        described = describe_shortest(
            self, trainer, module, [(self.rate, message)], trained.buffers, self.temperatures
        )
        described.alternatives *= len(self.rates.settings())
        return described

    def _shortest(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        trained = sent_tensors(module)
        messages = ((rate, self.rates.message(trained, rate)) for rate in self.rates.settings())
        return describe_shortest(self, trainer, module, messages, trained.buffers, self.temperatures)

    # Fine-tuning

    def begin_stage(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin the training; or choose the rate, and begin the fine-tuning from the trained network."""
        if self.stage == 0:
            super().begin_stage(trainer, module)
            return
        share_buffers(trainer, module)  # all ranks choose the same rate
        trained = {name: value.clone() for name, value in module.state_dict().items()}
        found = self._shortest(trainer, module)
        module.load_state_dict(trained)
        self.curve += found.curve
        best = min(found.curve, key=lambda row: row["total_bits"])
        self.rate = {key: best[key] for key in ("sparsity", "quantiser", "rate")}
        self.quantiser = StraightThrough(self.rates.message(sent_tensors(module), self.rate))
        restart(trainer, module, self.stages[1][1], self.finetune_rate)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Compute with quantised weights while fine-tuning, from the first piece of a step to its last."""
        if self.quantiser is not None and not self.quantiser.fine:
            self.quantiser.coarsen(pl_module)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Move the weights behind the quantised ones."""
        if self.quantiser is not None:
            self.quantiser.restore(pl_module)

    def _identity(self) -> list[str]:
        # The rate that is fine-tuned was chosen from these; their number is charged.
        return [*super()._identity(), str(self.rates.settings()), str(self.temperatures)]

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, and what is being fine-tuned."""
        quantised = self.quantiser.state_dict() if self.quantiser else None
        return {**super().state_dict(), "rate": self.rate, "quantised": quantised}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        super().load_state_dict(state_dict)
        self.rate = state_dict["rate"]
        if state_dict["quantised"] is not None:
            self.quantiser = StraightThrough({})
            self.quantiser.load_state_dict(state_dict["quantised"])
