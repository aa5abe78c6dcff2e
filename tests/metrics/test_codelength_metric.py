"""The metric: an exact float64 sum over batches and shards of any size."""

import pickle

import pytest
import torch
from torch import Tensor, nn

from ibsuite.codes import codelength_bits
from ibsuite.metrics import Codelength


@pytest.fixture
def priced() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return 3 * torch.randn(101, 5, generator=draws), torch.randint(5, (101,), generator=draws)


@pytest.mark.parametrize("batch", [1, 7, 50, 101])
def test_sum_over_batches_of_any_size(priced: tuple[Tensor, Tensor], batch: int) -> None:
    logits, labels = priced
    metric = Codelength()
    for some, their in zip(logits.split(batch), labels.split(batch), strict=True):
        metric.update(some, their)
    assert metric.compute().dtype == torch.float64
    assert float(metric.compute()) == pytest.approx(codelength_bits(logits, labels), rel=1e-13)


def test_unequal_shards_add_up(priced: tuple[Tensor, Tensor]) -> None:
    logits, labels = priced
    shards = []
    for own in (slice(0, 3), slice(3, 90), slice(90, 101)):
        metric = Codelength()
        metric.update(logits[own], labels[own])
        shards.append(metric)
    summed = shards[0]._reductions["bits"]
    stacked = torch.stack([shard.bits for shard in shards])
    assert float(summed(stacked)) == pytest.approx(codelength_bits(logits, labels), rel=1e-13)
    whole = Codelength()
    whole.update(logits[:3], labels[:3])
    whole.merge_state(shards[1])
    whole.merge_state(shards[2])
    assert float(whole.compute()) == pytest.approx(codelength_bits(logits, labels), rel=1e-13)


def test_forward_gives_the_batch_and_keeps_the_sum(priced: tuple[Tensor, Tensor]) -> None:
    logits, labels = priced
    metric = Codelength()
    first, second = metric(logits[:10], labels[:10]), metric(logits[10:], labels[10:])
    assert float(first) == pytest.approx(codelength_bits(logits[:10], labels[:10]))
    assert float(second) == pytest.approx(codelength_bits(logits[10:], labels[10:]))
    assert float(metric.compute()) == pytest.approx(float(first) + float(second))


def test_stays_float64_inside_a_network_of_low_precision(priced: tuple[Tensor, Tensor]) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.metric = nn.Linear(2, 2), Codelength()

    holder = Holder().half()
    assert holder.layer.weight.dtype == torch.float16
    holder.metric.update(*priced)
    assert holder.metric.compute().dtype == torch.float64
    assert float(holder.metric.compute()) == pytest.approx(codelength_bits(*priced), rel=1e-13)


def test_reset_pickle_and_an_update_that_leaves_shared_memory_alone(priced: tuple[Tensor, Tensor]) -> None:
    metric = Codelength()
    shared = metric.bits
    metric.update(*priced)
    assert shared == 0
    assert float(pickle.loads(pickle.dumps(metric)).compute()) == float(metric.compute())
    metric.reset()
    metric.update(priced[0][:1], priced[1][:1])
    assert float(metric.compute()) == pytest.approx(codelength_bits(priced[0][:1], priced[1][:1]))
