"""What the tests of the data room share."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ibsuite.data import LabelledData


class Given(LabelledData):
    """A data set of given tensors."""

    name = "Given"

    def __init__(self, x: Tensor, y: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pair = x, y
        self.num_classes, self.input_shape = int(y.max()) + 1, tuple(x.shape[1:])

    def read_train(self) -> tuple[Tensor, Tensor]:
        return self.pair[0].clone(), self.pair[1].clone()

    def read_test(self) -> None:
        return None


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """60 made-up images of 3 classes, sorted by class, some of them equal across classes."""
    x = torch.randint(0, 256, (60, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x[40:45] = x[0:5]
    return x, torch.arange(60) // 20
