"""Pricing leaves the network as it is, and ranks together price what one does."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ibsuite.callbacks.pricing import evaluating, price
from ibsuite.methods import CrossEntropy


class Sequence:
    """Inputs; a view adds its number to them."""

    num_classes = 3

    def __init__(self, n: int) -> None:
        self.x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
        self.asked: list[tuple[int, int]] = []

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        self.asked += [(int(row), view) for row in rows]
        return self.x[rows] + view


def fake_trainer(rank: int = 0, world: int = 1) -> Any:
    strategy = SimpleNamespace(reduce=lambda logits, **_: logits)
    return SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)


@pytest.fixture
def classifier() -> CrossEntropy:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    network(torch.randn(20, 4))  # running statistics that are not their initial ones
    network[1].eval()  # a mode of its own, to be kept
    return CrossEntropy(network)


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_batches_change_nothing_and_nothing_changes(classifier: CrossEntropy, batch: int) -> None:
    sequence, rows = Sequence(40), torch.arange(11, 34)
    modes = [m.training for m in classifier.modules()]
    state = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    logits = price(fake_trainer(), classifier, sequence, rows, batch_size=batch)
    with evaluating(classifier), torch.no_grad():
        torch.testing.assert_close(logits, classifier(sequence.x[rows]), rtol=1e-5, atol=1e-6)
    assert [m.training for m in classifier.modules()] == modes
    assert True in modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in classifier.state_dict().items())
    assert logits.dtype == torch.float32
    assert not logits.is_inference()
    assert sorted(sequence.asked) == [(row, 0) for row in range(11, 34)]


@pytest.mark.parametrize("world", [2, 3, 4, 8])
def test_ranks_together_price_each_label_once(classifier: CrossEntropy, world: int) -> None:
    rows = torch.randperm(23)
    alone = price(fake_trainer(), classifier, Sequence(23), rows, batch_size=5)
    sequence = Sequence(23)
    ranks = [fake_trainer(rank, world) for rank in range(world)]
    shares = [price(trainer, classifier, sequence, rows, batch_size=5) for trainer in ranks]
    assert torch.equal(torch.stack(shares).sum(0), alone)
    assert sorted(sequence.asked) == [(row, 0) for row in range(23)]


def test_views_average_the_logits(classifier: CrossEntropy) -> None:
    """The normalised geometric mean of the predictions under each view."""
    sequence, rows = Sequence(9), torch.arange(9)
    logits = price(fake_trainer(), classifier, sequence, rows, views=2, batch_size=4)
    with evaluating(classifier), torch.no_grad():
        views = torch.stack([classifier(sequence.x + view).softmax(1) for view in range(3)])
    product = views.prod(0) ** (1 / 3)
    torch.testing.assert_close(logits.softmax(1), product / product.sum(1, keepdim=True))


def test_pricing_is_float32_inside_autocast(classifier: CrossEntropy) -> None:
    rows = torch.arange(9)
    plain = price(fake_trainer(), classifier, Sequence(9), rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(price(fake_trainer(), classifier, Sequence(9), rows), plain)


def test_no_rows(classifier: CrossEntropy) -> None:
    assert price(fake_trainer(), classifier, Sequence(9), torch.arange(0)).shape == (0, 3)


def test_modes_come_back_after_an_error(classifier: CrossEntropy) -> None:
    modes = [m.training for m in classifier.modules()]
    with evaluating(classifier):
        assert not any(m.training for m in classifier.modules())
    with pytest.raises(KeyError), evaluating(classifier):
        raise KeyError
    assert [m.training for m in classifier.modules()] == modes
