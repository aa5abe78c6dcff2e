"""Networks and LightningModules that a user might have written, without a thought of this package."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Two layers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Mine(L.LightningModule):
    """A module as tutorials have it: logs, a hook, a schedule over the steps that the trainer says."""

    def __init__(self, width: int = 8, rate: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = Plain(width)
        self.rate, self.steps, self.begun, self.planned = rate, 0, 0, []

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("own_loss", loss)
        return loss

    def on_train_start(self) -> None:
        self.begun += 1

    def on_train_batch_end(self, *args: Any) -> None:
        self.steps += 1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.rate)
        self.planned.append(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.planned[-1])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Epochs(Mine):
    """Its schedule counts epochs."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 10)]


class ByHand(Mine):
    """It steps its optimiser itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class NoLoss(Mine):
    """It returns nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        return None


class NoOptimiser(L.LightningModule):
    """It can be trained by nobody."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def training_step(self, batch: Any) -> Tensor:
        return batch[0].sum()


class Short(L.LightningModule):
    """The least that there can be: no index of the batch, a dict for the loss, and its own logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(64, 10)

    def logits(self, x: Tensor) -> Tensor:
        return self.weights(x.flatten(1))

    def training_step(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": F.cross_entropy(self.logits(x), y)}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Probabilities(Plain):
    """A softmax too many."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Random(Plain):
    """Dropout that evaluation mode does not stop."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5)


class Narrow(Plain):
    """Ten classes, and nine logits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :9]


class Tokens(Plain):
    """A parameter that no layer draws."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(64))
        self.scale = nn.Parameter(torch.ones(64))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1) * self.scale + self.token)
