"""A network cut behind its layers is the network."""

from typing import Any

import pytest
import torch

from ibsuite.interface import Refusal
from ibsuite.nn import MLP, ConvNet, LeNet, TinyCNN, representations


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLP((1, 8, 8), 10, hidden=(7, 5)), (1, 8, 8)),
        (LeNet((1, 28, 28), 10), (1, 28, 28)),
        (TinyCNN((3, 32, 32), 10), (3, 32, 32)),
        (ConvNet((3, 32, 32), 10), (3, 32, 32)),
    ],
)
def test_the_parts_one_after_another_are_the_network(network: Any, shape: tuple[int, ...]) -> None:
    x = torch.rand(3, *shape)
    network.eval()
    parts, h = representations(network), x
    for _, part in parts:
        h = part(h)
    assert torch.equal(h, network(x))
    held = [parameter for _, part in parts for parameter in part.parameters()]
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}
    assert len(held) == len({id(p) for p in held})  # no layer is in two parts


def test_parts_end_behind_the_activation() -> None:
    parts = representations(MLP((1, 8, 8), 10, hidden=(7, 5)))
    assert [name for name, _ in parts] == ["layers.1", "layers.4", "layers.7"]
    h, sizes, least = torch.rand(16, 1, 8, 8), [], []
    for _, part in parts:
        h = part(h)
        sizes.append(tuple(h.shape[1:]))
        least.append(float(h.detach().min()))
    assert sizes == [(7,), (5,), (10,)]
    assert least[:2] == [0.0, 0.0]
    assert least[2] < 0


def test_a_network_that_is_no_chain_is_refused() -> None:
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.layer(x)

    with pytest.raises(Refusal, match="not a chain"):
        representations(Residual())
