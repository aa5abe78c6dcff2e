"""The global batch, of which every rank holds a share: sums and samples of all ranks, gradients of all."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ibsuite.interface import Batch


class GlobalBatch:
    """Where this rank's samples stand in the global batch, and what of the others it can get.

    Rank r of w holds samples r, r + w, r + 2w, ... A batch that is too small to be shared is computed whole
    by every rank; each is then on its own, and gradients are averaged rather than added.

    Args:
        batch: this rank's share.
        world: how many ranks there are.
        rank: which one this is.
    """

    def __init__(self, batch: Batch, world: int, rank: int) -> None:
        self.own = len(batch.x)
        self.shared = world > 1 and not batch.whole
        self.world, self.rank = (world, rank) if self.shared else (1, 0)
        self.count = round(world / batch.weight) if self.shared else self.own
        self.factor = 1.0 if self.shared else 1.0 / world

    @property
    def positions(self) -> slice:
        """Of this rank's samples in the global batch."""
        return slice(self.rank, self.count, self.world)

    def gather(self, sums: Tensor) -> Tensor:
        """The sums of all shares, (s,) -> (shares, s); no gradient passes."""
        if not self.shared:
            return sums[None]
        parts = [torch.empty_like(sums) for _ in range(self.world)]
        torch.distributed.all_gather(parts, sums.contiguous())
        return torch.stack(parts)

    def samples(self, share: Tensor) -> Tensor:
        """All samples in order, (own, ...) -> (count, ...); gradients of all ranks reach their owners."""
        if not self.shared:
            return share
        whole: Tensor = _Samples.apply(share, self)
        return whole

    def reduce(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Add up gradients over shares, in place; average them where every rank has the whole batch."""
        if self.shared or self.factor < 1.0:
            flat = torch.cat([each.flatten() for each in gradients])
            torch.distributed.all_reduce(flat)
            parts = (flat * self.factor).split([each.numel() for each in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        return list(gradients)


class _Samples(torch.autograd.Function):
    """All shares in the order of the global batch; the gradient of a sample is the sum over ranks."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, batch: GlobalBatch) -> Tensor:
        ctx.batch = batch
        longest = -(-batch.count // batch.world)
        padded = share.new_zeros(longest, *share.shape[1:])
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in range(batch.world)]
        torch.distributed.all_gather(parts, padded)
        return torch.stack(parts, 1).flatten(0, 1)[: batch.count]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(gradient)
        return gradient[ctx.batch.positions], None
