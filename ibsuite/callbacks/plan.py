"""How long each block is trained, and where its training is interrupted."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ibsuite.interface import Ahead, Refusal

MAX_STRETCH = 250
"""Steps after which a training may be saved, whether or not anything is priced there."""


@dataclass
class TrainingLength:
    """Optimiser steps for a given number of labels: epochs, within bounds.

    steps = clip(ceil(epochs * labels / batch size), min_steps, max_steps)

    Args:
        epochs: passes over the labels sent so far.
        min_steps: at least so many steps, however few labels there are.
        max_steps: at most so many steps.
    """

    epochs: float = 20.0
    min_steps: int = 200
    max_steps: int = 2000

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and 1 <= self.min_steps <= self.max_steps):
            raise Refusal("code.epochs must be positive, and 1 <= code.min_steps <= code.max_steps")

    def steps(self, labels: int, batch_size: int) -> int:
        """Optimiser steps of a training on so many labels."""
        return min(max(_ceil(self.epochs * labels / batch_size), self.min_steps), self.max_steps)


class Training(NamedTuple):
    """One training: on the labels [0, prefix), to price the labels [prefix, stop)."""

    block: int
    """Number of the block that it prices; blocks count from 0, and block 0 is uniform."""
    prefix: int
    stop: int
    steps: int
    ends: tuple[int, ...]
    """Steps at which a stretch ends, increasing; the last is ``steps``."""
    stops: tuple[int, ...]
    """Those ends at which the next block is priced."""
    member: int = 0
    """Which of the networks trained for the block, from 0."""

    @property
    def final(self) -> bool:
        """Whether it prices no block: the training of the final model."""
        return self.stop == self.prefix


def plan_trainings(
    ends: Sequence[int],
    length: TrainingLength,
    batch_size: int,
    stops: Sequence[float],
    final: bool,
    members: int = 1,
) -> list[Training]:
    """Every training of a prequential run in order, the final one on all labels last.

    Args:
        ends: block ends t_0 < ... < t_S = n.
        length: steps for a prefix.
        batch_size: labels a step.
        stops: shares of a training at which the next block is priced, increasing, the last one 1.
        final: whether a last training on all labels follows, which prices nothing.
        members: networks trained for each block, one after another.
    """
    if not stops or list(stops) != sorted(set(stops)) or stops[0] <= 0 or stops[-1] != 1:
        raise Refusal(f"code.stops must increase within (0, 1] and end in 1, got {list(stops)}")
    trainings = []
    for block, prefix in enumerate(ends, start=1):
        last = prefix == ends[-1]
        if last and not final:
            break
        steps = length.steps(prefix, batch_size)
        priced = tuple(_ceil(share * steps) for share in ([1.0] if last else stops))
        if len(set(priced)) < len(priced):
            raise Refusal(
                f"{steps} steps are too few for {len(priced)} different code.stops; "
                "raise code.min_steps and code.max_steps"
            )
        saved = range(MAX_STRETCH, steps, MAX_STRETCH)
        cuts = tuple(sorted({*priced, *saved}))
        stop = prefix if last else ends[block]
        trainings += [Training(block, prefix, stop, steps, cuts, priced, m) for m in range(members)]
    return trainings


def block_slice(blocks: str) -> tuple[int, int]:
    """Both ends of ``a:b``, a Python slice of the blocks: from block a up to and without block b.

    Block 0, which is uniform, has no training; the final model is the last block.

    Raises:
        Refusal: it is not such a slice, or holds no training.
    """
    found = re.fullmatch(r"(\d+):(\d+)", blocks)
    first, end = (int(text) for text in found.groups()) if found else (0, 0)
    if first >= end or end == 1:
        raise Refusal(
            f"code.blocks={blocks} is no slice a:b that holds a block behind the uniform one, block 0; 1:4 "
            "are blocks 1 to 3, and --dry_run shows them all"
        )
    return first, end


def some_blocks(trainings: Sequence[Training], blocks: str | None) -> list[Training]:
    """The trainings of blocks ``a:b``; None: all.

    Raises:
        Refusal: it is no slice, or reaches behind the last block.
    """
    if blocks is None:
        return list(trainings)
    (first, end), last = block_slice(blocks), trainings[-1].block
    if end > last + 1:
        final = " (the final model)" if trainings[-1].final else ""
        raise Refusal(
            f"code.blocks={blocks} reaches behind block {last}{final}, the last one: 1:{last + 1} are all"
        )
    return [training for training in trainings if first <= training.block < end]


def what_is_ahead(trainings: Sequence[Training], views: int, predictors: int, apart: bool = False) -> Ahead:
    """What a plan means: what each training prices, and how many labels a network looks at for it.

    Args:
        trainings: the plan.
        views: augmented views of each input that is priced.
        predictors: probabilities that are kept of each label.
        apart: whether its blocks depend on each other in nothing.
    """
    rows: list[tuple[str, int, str, int]] = []
    blocks: dict[int, tuple[int, int]] = {}  # steps, labels to be priced
    for t in trainings:
        prices = "everything again" if t.final else f"labels {t.prefix + 1} to {t.stop}"
        rows.append(("final model" if t.final else f"block {t.block}", t.prefix, prices, t.steps))
        priced = t.stop if t.final else (t.stop - t.prefix) * len(t.stops)
        steps, before = blocks.get(t.block, (0, 0))
        blocks[t.block] = (steps + t.steps, before + priced * (views + 1))
    total = sum(priced for _, priced in blocks.values())
    return Ahead(rows, total, predictors, blocks if apart else {})


def _ceil(value: float) -> int:
    """The next whole number, unless rounding of the product alone is above one."""
    return math.ceil(round(value, 9))
