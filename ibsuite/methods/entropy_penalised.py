"""Training a network on the length of its two-part code."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from ibsuite.compression import LogisticMixture
from ibsuite.interface import Batch, LabelSequence, Message, Quantised, Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.schedules import Decay, risen

STEP_FROM_ZERO = 0.1
"""First step of a tensor that is all zeros at first, as biases are."""


class EntropyPenalised(CrossEntropy):
    """The two-part code's length per label, nats: -log p(y|x, w) + (length of the weights) / n, minimised.

    Every tensor has a grid: w = step x round(k). What is trained are the steps and, in place of the
    network's weights, the k; the gradient goes straight through the rounding. The length of the
    weights is that of k + u, u uniform in (-1/2, 1/2), under a mixture trained along for each tensor
    (``LogisticMixture``); a step as such costs nothing, so that every tensor finds the coarsest grid
    that the labels can do with. Predictions are those of the rounded weights, and just these are sent.

    Source: Oktay et al. 2020 (arXiv 1906.06624), with rounding in place of their noise, for the length of
    Blier & Ollivier 2018, Definition 1.

    Args:
        network: gives logits, (n, *input_shape) -> (n, num_classes). Where its constructor has
            ``num_classes`` or ``input_shape`` they are taken from the data.
        optimizer: a torch optimiser class with its settings, without the parameters; its learning rate is
            in steps of the grids. Its weight decay is set to 0: the length has that part.
        initial_step: of every grid, in standard deviations of the tensor's initialisation.
        step_rate: learning rate of the logarithms of the steps, and of the mixtures, as a multiple of the
            optimiser's.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after that.
        length_warmup: share of a training in which the weight of the weights' length rises from 0 to 1.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        initial_step: float = 1.4,
        step_rate: float = 0.2,
        warmup: float = 0.02,
        decay: Decay = "cosine",
        length_warmup: float = 0.3,
    ) -> None:
        super().__init__(network, optimizer, warmup, decay)
        if not initial_step > 0:
            raise Refusal(f"model.initial_step must be positive, got {initial_step}")
        if not 0 <= length_warmup <= 1:
            raise Refusal(f"model.length_warmup must lie in [0, 1], got {length_warmup}")
        places = [id(p) for _, p in network.named_parameters(remove_duplicate=False)]
        if len(set(places)) < len(places):
            raise Refusal(
                f"{type(network).__name__} shares weights between layers; a grid is one layer's own"
            )
        self.initial_step, self.step_rate, self.length_warmup = initial_step, step_rate, length_warmup
        self.names = [name for name, _ in network.named_parameters()]
        self.log_steps = nn.Parameter(torch.zeros(len(self.names)))
        self.mixtures = nn.ModuleList(LogisticMixture() for _ in self.names)
        self.reset_parameters()

    def steps(self) -> Tensor:
        """Steps of all grids as they are sent, bfloat16 numbers, (tensors,)."""
        return _straight_through(self.log_steps.exp(), lambda step: step.bfloat16().float())

    def weights(self) -> dict[str, Tensor]:
        """Every weight on its grid, by name, with gradients to k and to the steps."""
        named = zip(self.network.named_parameters(), self.steps(), strict=True)
        return {name: step * _straight_through(k, torch.round) for (name, k), step in named}

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities under rounded weights, (n, *input_shape) -> (n, num_classes)."""
        logits: Tensor = functional_call(self.network, self.weights(), (x,))
        return logits

    def length_nats(self) -> Tensor:
        """Length of all weights, relaxed by a draw of noise, nats."""
        relaxed = [k + torch.rand_like(k) - 0.5 for k in self.network.parameters()]
        lengths = [mixture(k).sum() for mixture, k in zip(self.mixtures, relaxed, strict=True)]
        return torch.stack(lengths).sum()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Length per label; shares are weighted so that the mean over ranks is that of the global batch."""
        data: LabelSequence = self.trainer.datamodule  # type: ignore[attr-defined]
        labels = data.num_labels if data.stretch is None else len(data.stretch.rows)
        weight = risen(self, self.length_warmup)
        return super().training_step(batch, batch_idx) + self.length_nats() * (weight / labels)

    def quantised(self) -> Message:
        """The network's weights on their grids, by their names in it; buffers in float16."""
        named = zip(self.network.named_parameters(), self.steps().tolist(), strict=True)
        message: dict[str, Tensor | Quantised] = {
            f"network.{name}": Quantised(k.detach().round().long().cpu(), step) for (name, k), step in named
        }
        state = self.network.state_dict()
        buffers = {name: state[name] for name in state.keys() - set(self.names)}
        floats = {name: value for name, value in sorted(buffers.items()) if value.is_floating_point()}
        return message | {f"network.{name}": value.half().cpu() for name, value in floats.items()}

    @torch.no_grad()
    def load_quantised(self, message: Message) -> None:
        """Take over the grids and integers of a message, and its buffers."""
        state = self.network.state_dict()
        for name, sent in message.items():
            name = name.removeprefix("network.")
            state[name].copy_(sent.symbols if isinstance(sent, Quantised) else sent)
            if isinstance(sent, Quantised):
                self.log_steps[self.names.index(name)] = torch.tensor(sent.step).log()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The k, and everything about the grids at a rate of their own."""
        grids = [self.log_steps, *self.mixtures.parameters()]
        groups: list[dict[str, Any]] = [{"params": list(self.network.parameters()), "rate": 1.0}]
        groups.append({"params": grids, "rate": self.step_rate})
        return [{**group, "weight_decay": 0.0} for group in groups]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw a fresh network from torch's global generator, and put it on grids of their first steps."""
        super().reset_parameters()
        for k, log_step in zip(self.network.parameters(), self.log_steps, strict=True):
            spread = float(k.std(correction=0))
            step = self.initial_step * spread if spread > 0 else STEP_FROM_ZERO
            k.div_(step)
            log_step.copy_(torch.tensor(step).log())
        for mixture in self.mixtures:
            assert isinstance(mixture, LogisticMixture)
            mixture.reset_parameters()


def _straight_through(exact: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """The rounded tensor, with the gradient of the tensor itself."""
    return exact + (rounding(exact) - exact).detach()
