"""Two-part coding: the weights in a stated format, then the labels given them."""

from collections.abc import Sequence
from typing import Literal, get_args

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite.callbacks.description import Description
from ibsuite.callbacks.messages import check_temperatures, describe_shortest
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.callbacks.sent import narrowed, sent_tensors
from ibsuite.coding import weight_bits
from ibsuite.interface import LabelSequence, Message, QuantisedMethod, Refusal

Format = Literal["float32", "float16", "bfloat16", "quantised"]


class TwoPartCode(OfflineCode):
    """Codelength of a trained network's weights in a stated format, and of the labels under just these.

    L(y | x) = L_param(theta) - sum_i log2 p_theta(y_i | x_i). Every parameter and every buffer that
    predictions depend on is counted, as bytes of a file that rebuilds the network. Where several
    formats or temperatures are given the shortest total counts, and log2 of their number is charged.

    Source: Blier & Ollivier 2018, Definition 1; float32 weights are its 32 dim(theta).

    Args:
        formats: ``float32``, ``float16``, ``bfloat16``, or ``quantised`` where the method trains its
            weights on grids of its own.
        temperatures: the logits are divided by one of these.
        validation_labels: labels at the end of the order that are never trained on, to choose settings by;
            they are sent like all others.
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
    | code/validation_error_percent | of the held-out labels; where there are any |
    | code/length_bits | along the training on the length itself: weights and labels, choices left out |
    | code/total_bits | at the end: weights, labels and choices |
    | bottleneck/rate_bits | of a method with a stochastic representation (DeepVIB): KL(p(z given x), r(z)) |
    | bottleneck/distortion_bits | -log2 q(y given z), bits a label |
    | bottleneck/mi_zx_upper_bits, bottleneck/mi_zy_lower_bits | bounds on I(Z;X) and I(Z;Y) |
    | bottleneck/error_one_draw_percent, bottleneck/error_percent | by one draw, and by the mean over draws |
    | bottleneck/mi_zx_given_y_upper_bits | bound on I(X;Z given Y), of a method that has one (CEB) |
    | bottleneck/validation_..., bottleneck/test_... | of held-out labels; at the end, of the test split |
    """

    code = "two_part"

    def __init__(
        self,
        formats: Sequence[Format] = ("float32", "float16", "bfloat16"),
        temperatures: Sequence[float] = (1.0,),
        validation_labels: int = 0,
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
        unknown = set(formats) - set(get_args(Format))
        if unknown or not formats:
            raise Refusal(
                f"code.formats must name some of {', '.join(get_args(Format))}; got {list(formats)}"
            )
        self.validation_labels = validation_labels
        self.formats, self.temperatures = list(formats), check_temperatures(temperatures)

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse ``quantised`` where the method does not quantise."""
        if "quantised" in self.formats and not isinstance(module, QuantisedMethod):
            raise Refusal(
                f"code.formats=[quantised] needs a method that trains quantised weights, "
                f"not {type(module).__name__}; use --code=NetworkCompressionCode for any method"
            )
        if self.formats != ["quantised"] and isinstance(module, QuantisedMethod):
            raise Refusal(
                f"{type(module).__name__} quantises its weights itself: use code.formats=[quantised]"
            )

    @property
    def readings(self) -> int:
        """Under every format."""
        return len(self.formats)

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, float]:
        """Labels, and the weights where the method quantises them as it goes."""
        found = super().measure(trainer, module)
        if self.formats != ["quantised"]:
            return found
        model_bits = weight_bits(self._message(module, sent_tensors(module), "quantised"))
        return {"total_bits": model_bits + found["label_bits"], "model_bits": model_bits, **found}

    def describe(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        """Try every format; keep the shortest."""
        trained = sent_tensors(module)
        messages = [({"format": name}, self._message(module, trained, name)) for name in self.formats]
        described = describe_shortest(self, trainer, module, messages, trained.buffers, self.temperatures)
        if len(messages) > 1:
            described.compared = {f"{row['format']}_bits": row["total_bits"] for row in described.curve}
        return described

    @staticmethod
    def _message(module: L.LightningModule, trained: Message, name: str) -> Message:
        if name == "quantised":
            assert isinstance(module, QuantisedMethod)
            return module.quantised()
        floats = {key: value for key, value in trained.items() if isinstance(value, Tensor)}
        return {key: narrowed(value, getattr(torch, name)) for key, value in floats.items()}
