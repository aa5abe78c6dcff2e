"""Counted randomness: every draw is a function of a key such as (seed, block, stage).

Nothing random is carried from one part of a run to the next, so that resuming, replaying and
decoding need no saved generator state.
"""

import numpy as np
import torch


def derive_seed(*key: int) -> int:
    """A 63-bit seed that depends on every entry of ``key`` and on their order."""
    # NumPy drops zeros at the end and cuts wide numbers up: say how many there are, in words of fixed size.
    words = [len(key), *(word for entry in key for word in (entry & 0xFFFFFFFF, entry >> 32))]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


def generator(*key: int) -> torch.Generator:
    """A fresh CPU generator seeded by ``key``; the same on every machine and for every device."""
    return torch.Generator().manual_seed(derive_seed(*key))
