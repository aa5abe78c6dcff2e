"""A small network trained for a moment on the digits, about to be compressed."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ibsuite.data import Digits
from ibsuite.interface import LabelledInputs, Stretch
from ibsuite.methods import CrossEntropy
from ibsuite.nn import MLP
from ibsuite.tradeoffs import Curve, Retraining, TrainedNetwork, trace

LABELS, HELD_OUT = 160, 40


class Held(Digits):
    """Digits of which labels, and images of a test split, may be replaced."""

    def __init__(self, labels: Tensor | None = None, test: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__(num_labels=LABELS, batch_size=32)
        self.replaced, self.test = labels, test

    @property
    def labels(self) -> Tensor:
        return super().labels if self.replaced is None else self.replaced

    def read_test(self) -> Any:
        return self.test


def method() -> CrossEntropy:
    torch.manual_seed(0)
    network = MLP((1, 8, 8), 10, hidden=(12,), batch_norm=True)
    return CrossEntropy(network, lambda p: torch.optim.AdamW(p, lr=0.02), warmup=0.0)


@cache
def trained_state() -> dict[str, Tensor]:
    """What 60 steps on the labels that are not held out lead to."""
    data, trained = Held(), method()
    data.setup()
    trained.training_steps = 60
    made = trained.configure_optimizers()
    data.stretch = Stretch(torch.arange(LABELS - HELD_OUT), 60, 0)
    trained.train()
    for i, batch in enumerate(data.train_dataloader()):
        made["optimizer"].zero_grad()
        trained.training_step(batch, i).backward()
        made["optimizer"].step()
    return {name: tensor.clone() for name, tensor in trained.state_dict().items()}


def network(data: Held | None = None, **settings: Any) -> TrainedNetwork:
    data, trained = data or Held(), method()
    data.setup()
    trained.load_state_dict(trained_state())
    return TrainedNetwork(trained.eval(), data, **{"held_out": HELD_OUT, **settings})


def curve(
    of: TrainedNetwork,
    objective: str,
    settings: Sequence[dict[str, float]],
    temperatures: Sequence[float] = (1.0,),
    mus: Sequence[float] = (0.0,),
    retraining: Retraining | None = None,
    test: LabelledInputs | None = None,
) -> Curve:
    told: list[dict[str, Any]] = []
    retraining = retraining or Retraining()
    found = trace(of, objective, settings, temperatures, mus, retraining, test, told.append)
    assert told == found.rows
    return found
