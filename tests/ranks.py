"""Ranks as threads of one process, and networks with a bottleneck that are small enough for closed forms."""

import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ibsuite.data.loader import share
from ibsuite.interface import Batch
from ibsuite.nn import MLP, Bottleneck


def on_ranks(world: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(rank)`` returns on every rank; ``all_gather`` and ``all_reduce`` go between threads."""
    barrier, slots, own = threading.Barrier(world, timeout=20), [None] * world, threading.local()
    results: list[Any] = [None] * world

    def together(tensor: Tensor) -> list[Tensor]:
        slots[own.rank] = tensor.detach().clone()
        barrier.wait()
        found = [each.clone() for each in slots]
        barrier.wait()
        return found

    def all_gather(parts: list[Tensor], tensor: Tensor) -> None:
        for part, found in zip(parts, together(tensor), strict=True):
            part.copy_(found)

    def all_reduce(tensor: Tensor) -> None:
        tensor.copy_(torch.stack(together(tensor)).sum(0))

    def run(rank: int) -> None:
        own.rank = rank
        try:
            results[rank] = work(rank)
        except BaseException as error:
            results[rank] = error
            barrier.abort()

    patched = {"all_gather": all_gather, "all_reduce": all_reduce, "is_initialized": lambda: True,
               "get_world_size": lambda: world, "get_rank": lambda: own.rank}  # fmt: skip
    with mock.patch.multiple(torch.distributed, **patched):
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def shares(batch: Batch, world: int) -> list[Batch]:
    """A global batch as its ranks see it."""
    parts = (share(len(batch.x), rank, world) for rank in range(world))
    return [Batch(batch.x[part], batch.y[part], weight, part == slice(None)) for part, weight in parts]


def bottleneck(**settings: Any) -> Bottleneck:
    """4 inputs, 3 numbers, 3 classes; scales that are not next to nothing."""
    torch.manual_seed(0)
    given = {"dimension": 3, "encoder": lambda shape, size: MLP(shape, size, (6,)), **settings}
    network = Bottleneck((4,), 3, **given)
    if network.covariance in ("diagonal", "full"):
        with torch.no_grad():
            network.encoder.layers[-1].bias[3:] += 5.0
    return network


def batch_of(n: int) -> Batch:
    """Random inputs and labels."""
    draws = torch.Generator().manual_seed(n)
    return Batch(torch.randn(n, 4, generator=draws), torch.randint(3, (n,), generator=draws), 1 / n)
