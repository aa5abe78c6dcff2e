"""What cannot be coded rightly is refused before anything is trained."""

import pytest
import torch
from small_runs import small_code
from torch import nn

from ibsuite.callbacks import NetworkCompressionCode
from ibsuite.interface import Refusal
from ibsuite.methods import CrossEntropy, EntropyPenalised, Subspace
from ibsuite.nn import MLP


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x.flatten(1))))


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def test_shared_weights_have_no_grid_of_their_own() -> None:
    with pytest.raises(Refusal, match="shares weights"):
        EntropyPenalised(Tied(), adam)


def test_shared_weights_are_not_compressed(fit) -> None:
    with pytest.raises(Refusal, match="share a weight"):
        fit(code=NetworkCompressionCode(max_steps=200), method=CrossEntropy(Tied(), adam))


def test_a_subspace_is_not_warm_started(fit) -> None:
    method = Subspace(MLP((1, 8, 8), 10, hidden=(8,)), 20, optimizer=adam)
    with pytest.raises(Refusal, match=r"code\.start=fresh"):
        fit(code=small_code(start="warm"), method=method)
