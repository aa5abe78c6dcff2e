"""Training a network on the length of its two-part code."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite.compression import LogisticMixture, quantise_uniform
from ibsuite.interface import Batch, LabelSequence, Message, Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.schedules import Decay, learning_rate_factor


class EntropyPenalised(CrossEntropy):
    """The two-part code's length per label, nats: -log p(y|x, w) + (length of the weights) / n, minimised.

    Every tensor has a grid, w = step x k with integers k, and its step is trained along. At first the
    integers are relaxed: the network computes with w + step x u, u uniform in (-1/2, 1/2), and the
    length of k + u is that under a trained mixture (``LogisticMixture``). For the rest of the training
    the network computes with rounded weights, and the gradient goes straight through the rounding.
    Predictions are those of the rounded weights, and just these are sent.

    Source: Oktay et al. 2020 (arXiv 1906.06624), with grids in place of their reparameterisation, for the
    length of Blier & Ollivier 2018, Definition 1.

    Args:
        network: gives logits, (n, *input_shape) -> (n, num_classes). Where its constructor has
            ``num_classes`` or ``input_shape`` they are taken from the data.
        optimizer: a torch optimiser class with its settings, without the parameters. Its weight decay is
            set to 0: the length of the weights has that part.
        initial_step: of every grid at first.
        step_rate: learning rate of steps and mixtures, as a multiple of that of the weights.
        relaxed: share of a training with noise in place of rounding.
        warmup: share of a training in which the learning rate rises to its peak.
        hold: share of a training at the peak.
        decay: how the learning rate falls after that.
        length_warmup: share of a training in which the length of the weights begins to count.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        initial_step: float = 0.05,
        step_rate: float = 3.0,
        relaxed: float = 0.8,
        warmup: float = 0.0,
        hold: float = 0.5,
        decay: Decay = "linear",
        length_warmup: float = 0.2,
    ) -> None:
        super().__init__(network, optimizer, warmup, decay)
        if not initial_step > 0:
            raise Refusal(f"model.initial_step must be positive, got {initial_step}")
        if not (0 <= relaxed <= 1 and 0 <= length_warmup <= 1):
            raise Refusal(
                f"model.relaxed and model.length_warmup must lie in [0, 1], got {relaxed} and {length_warmup}"
            )
        self.initial_step, self.step_rate, self.hold = initial_step, step_rate, hold
        self.relaxed, self.length_warmup = relaxed, length_warmup
        names = [name for name, _ in network.named_parameters()]
        self.log_steps = nn.Parameter(torch.full((len(names),), math.log(initial_step)))
        self.mixtures = nn.ModuleList(LogisticMixture() for _ in names)

    @property
    def progress(self) -> float:
        """Share of the present training that is done."""
        return self.lr_schedulers().last_epoch / self._steps()  # type: ignore[union-attr]

    def _steps(self) -> int:
        return self.training_steps or int(self.trainer.estimated_stepping_batches)

    def steps(self) -> Tensor:
        """Steps of all grids as they are sent, bfloat16 numbers, (tensors,)."""
        exact = self.log_steps.exp()
        return exact + (exact.bfloat16().float() - exact).detach()

    def rounded(self) -> dict[str, Tensor]:
        """Every weight on its grid, with the gradient of the weight itself."""
        found = {}
        for (name, weight), step in zip(self.network.named_parameters(), self.steps(), strict=True):
            k = weight / step
            found[name] = step * (k + (k.round() - k).detach())
        return found

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities under rounded weights, (n, *input_shape) -> (n, num_classes)."""
        logits: Tensor = functional_call(self.network, self.rounded(), (x,))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Length per label; shares are weighted so that the mean over ranks is that of the global batch."""
        data: LabelSequence = self.trainer.datamodule  # type: ignore[attr-defined]
        progress, weights = self.progress, {}
        length_nats = self.log_steps.new_zeros(())
        named = list(self.network.named_parameters())
        for (name, weight), step, mixture in zip(named, self.steps(), self.mixtures, strict=True):
            k = weight / step
            noisy = k + torch.rand_like(k) - 0.5
            length_nats = length_nats + mixture(noisy).sum()
            relaxed = progress < self.relaxed
            weights[name] = step * (noisy if relaxed else k + (k.round() - k).detach())
        counted = min(1.0, progress / self.length_warmup) if self.length_warmup else 1.0
        labels = data.num_labels if data.stretch is None else len(data.stretch.rows)
        logits = functional_call(self.network, weights, (batch.x,))
        label_nats = F.cross_entropy(logits, batch.y, reduction="sum")
        return label_nats * batch.weight + length_nats * (counted / labels)

    def quantised(self) -> Message:
        """Every weight on its grid; buffers, where there are any, in float16."""
        named = self.network.named_parameters()
        message: dict[str, Any] = {
            f"network.{name}": quantise_uniform(weight, step)
            for (name, weight), step in zip(named, self.steps().tolist(), strict=True)
        }
        buffers = self.network.state_dict().keys() - dict(self.network.named_parameters()).keys()
        kept = {name: value for name, value in self.network.state_dict().items() if name in buffers}
        floats = {name: value.half() for name, value in kept.items() if value.is_floating_point()}
        return message | {f"network.{name}": value.cpu() for name, value in floats.items()}

    def configure_optimizers(self) -> Any:
        """A fresh optimiser and a schedule over the steps of the present training."""
        settings = [*self.mixtures.parameters(), self.log_steps]
        groups: list[dict[str, Any]] = [{"params": list(self.network.parameters())}, {"params": settings}]
        optimizer = self.optimizer({**group, "weight_decay": 0.0} for group in groups)
        optimizer.param_groups[1]["lr"] *= self.step_rate

        def factor(step: int) -> float:
            return learning_rate_factor(step / self._steps(), self.warmup, self.decay, self.hold)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw a fresh network from torch's global generator, and put grids and mixtures back."""
        super().reset_parameters()
        self.log_steps.fill_(math.log(self.initial_step))
        for mixture in self.mixtures:
            mixture.reset_parameters()  # type: ignore[operator]
