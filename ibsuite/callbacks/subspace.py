"""Intrinsic-dimension coding: a few coordinates in a random subspace, then the labels."""

from collections.abc import Sequence

import lightning.pytorch as L

from ibsuite.callbacks.messages import describe_shortest
from ibsuite.callbacks.network_compression import NetworkCompressionCode
from ibsuite.callbacks.offline import Description
from ibsuite.callbacks.sent import sent_tensors
from ibsuite.interface import Coordinates, LabelSequence, Refusal


class SubspaceCode(NetworkCompressionCode):
    """Codelength of the coordinates of a network in a random affine subspace, and of the labels under it.

    theta = theta_0 + P z; theta_0 and P are drawn from a seed that the receiver has, so that only z is
    sent: quantised, with the precision that makes the total shortest, and entropy-coded. The
    paper counts 32 bits a coordinate and no labels.

    Source: Blier & Ollivier 2018, section 3.2 and Algorithm 1; Li et al. 2018.

    Args:
        steps: of a uniform grid, in standard deviations of the coordinates.
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
        seed: of the subspace, initialisation, shuffling and augmentation; taken from ``seed_everything``.

    Logs, against ``epoch``:

    | key | meaning |
    |---|---|
    | code/label_bits | bits of the labels under the network as it is; where ``watched`` |
    | code/accuracy | share of the labels that it predicts; where ``watched`` |
    | code/total_bits | at the end: coordinates, labels and choices |
    """

    code = "subspace"
    coarse_dimensions = 0

    def __init__(
        self,
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
        seed: int = 0,
    ) -> None:
        super().__init__(
            sparsities=(0.0,),  # coordinates are all alike
            steps=steps,
            levels=levels,
            finetune_epochs=finetune_epochs,
            finetune_rate=finetune_rate,
            temperatures=temperatures,
            epochs=epochs,
            min_steps=min_steps,
            max_steps=max_steps,
            watched=watched,
            views=views,
            settings_compared=settings_compared,
            seed=seed,
        )

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse a method that does not train in a subspace."""
        if not isinstance(module, Coordinates):
            raise Refusal(
                f"the subspace code needs a method that trains coordinates, such as Subspace, "
                f"not {type(module).__name__}"
            )

    def describe(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        """The shortest precision; 32 bits a coordinate for comparison."""
        trained = sent_tensors(module)
        paper = None if self.quantiser else describe_shortest(
            self, trainer, module, [({}, trained)], trained.buffers, self.temperatures
        )  # fmt: skip
        described = super().describe(trainer, module)
        if paper is not None:
            described.compared["float32_bits"] = sum(paper.charges.values())
        return described
