"""A network that a user might have written, without a thought of this package."""

from torch import Tensor, nn


class OwnNetwork(nn.Module):
    """One linear layer."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))
