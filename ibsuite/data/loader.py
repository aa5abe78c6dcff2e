"""Loaders over tensors in memory: every rank walks the same global batches and takes its share of each."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ibsuite import seeds
from ibsuite.data.augment import Augmentation
from ibsuite.data.standardise import Standardise
from ibsuite.interface import Batch, Stretch

SHUFFLE, AUGMENT = 1003, 1004  # what the draws below are for; keeps their generators apart
DRAWN_AHEAD = 4096  # rows: permutations of short prefixes are drawn many at a time


def share(count: int, rank: int, world: int) -> tuple[slice, float]:
    """One rank's part of a global batch, and the factor on its summed loss.

    The mean over ranks of factor times summed loss is the mean loss of the global batch. A batch
    that would leave a rank with a single sample, which BatchNorm cannot use, is computed whole by
    every rank. Where gradients are accumulated, every piece of a rank counts as a rank of its own.

    Args:
        count: Samples in the global batch.
        rank: Which rank.
        world: How many ranks.
    """
    if count < 2 * world:
        return slice(None), 1 / count
    return slice(rank, None, world), world / count


class Batches(ABC):
    """What the loaders have in common: from global rows to this rank's :class:`Batch`.

    Not a DataLoader: there is nothing to collate and no worker; Lightning takes it as it is.

    Args:
        x: Raw inputs in coding order, on the device where they are used.
        y: Labels in coding order, int64, on the same device.
        standardise: From raw inputs to what the network sees, on the same device.
        batch_size: Labels in a global batch.
        augment: Distortion of training images, or None.
        rank: Which rank this is.
        world: How many ranks share each global batch.
        pieces: Batches into which each rank's share is cut, one after another in one optimiser step.
    """

    sampler: Any = None
    batch_sampler: Any = None

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        standardise: Standardise,
        batch_size: int,
        augment: Augmentation | None = None,
        rank: int = 0,
        world: int = 1,
        pieces: int = 1,
    ) -> None:
        self.x, self.y, self.standardise = x, y, standardise
        self.batch_size, self.augment = batch_size, augment
        self.rank, self.world, self.pieces = rank, world, pieces

    def __len__(self) -> int:
        """Number of batches: so many pieces of every global one."""
        return self.steps * self.pieces

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of global batches, and of optimiser steps."""

    @abstractmethod
    def key(self) -> tuple[int, ...]:
        """What all draws are derived from."""

    @abstractmethod
    def global_batches(self) -> Iterator[Tensor]:
        """Rows of each global batch, int64, the same on every rank."""

    def __iter__(self) -> Iterator[Batch]:
        draws = seeds.generator(*self.key(), AUGMENT)
        for rows in self.global_batches():
            if self.augment is not None:
                # Drawn for the global batch by every rank, so that the number of ranks changes nothing.
                u = torch.rand(len(rows), self.augment.num_draws, generator=draws)
            for piece in range(self.pieces):
                rank, world = self.rank + piece * self.world, self.world * self.pieces
                part, weight = share(len(rows), rank, world)
                own = rows[part]
                x = self.standardise.unit(self.x[own])
                if self.augment is not None:
                    x = self.augment(x, u[part].to(x.device, non_blocking=True))
                yield Batch(self.standardise(x), self.y[own], weight, whole=part == slice(None))


class StretchLoader(Batches):
    """Batches for a stretch of training: permutations of its rows end to end, cut into whole batches.

    Every batch is full; a prefix shorter than a batch is repeated within it. A stretch is the unit
    of resuming: the loader starts at its beginning and keeps no state.

    Args:
        stretch: Which rows, how many steps, and the seed of the shuffling.
        **kwargs: As for :class:`Batches`.
    """

    def __init__(self, stretch: Stretch, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stretch = stretch
        self.augment = self.augment if stretch.augmented else None

    @property
    def steps(self) -> int:
        """Those of the stretch."""
        return self.stretch.steps

    def key(self) -> tuple[int, ...]:
        """The seed of the stretch."""
        return (self.stretch.seed,)

    def global_batches(self) -> Iterator[Tensor]:
        """Consecutive cuts of one endless stream of permutations."""
        shuffle = seeds.generator(*self.key(), SHUFFLE)
        rows, size = self.stretch.rows.cpu(), self.batch_size
        passes = math.ceil(max(DRAWN_AHEAD, size) / len(rows))
        stream = rows[:0].to(self.x.device)
        for _ in range(self.steps):
            if len(stream) < size:
                drawn = torch.cat([torch.randperm(len(rows), generator=shuffle) for _ in range(passes)])
                stream = torch.cat([stream, rows[drawn].to(self.x.device)])
            yield stream[:size]
            stream = stream[size:]


class EpochLoader(Batches):
    """Ordinary shuffled epochs over every row; the last batch of an epoch may be smaller.

    Args:
        seed: With the epoch, what shuffling and augmentation are derived from.
        epoch: Epoch to start at; Lightning keeps it up to date through ``set_epoch``.
        **kwargs: As for :class:`Batches`.
    """

    def __init__(self, seed: int, epoch: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed, self.epoch = seed, epoch
        self.sampler = self  # Lightning calls sampler.set_epoch before each epoch

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next walk is."""
        self.epoch = epoch

    @property
    def steps(self) -> int:
        """Global batches in an epoch."""
        return math.ceil(len(self.y) / self.batch_size)

    def key(self) -> tuple[int, ...]:
        """The seed and the epoch."""
        return (self.seed, self.epoch)

    def global_batches(self) -> Iterator[Tensor]:
        """One permutation of all rows in pieces."""
        shuffle = seeds.generator(*self.key(), SHUFFLE)
        drawn = torch.randperm(len(self.y), generator=shuffle).to(self.x.device)
        yield from drawn.split(self.batch_size)
