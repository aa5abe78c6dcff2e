"""The canonical order: in which order labels are sent, so that the order itself tells nothing about them."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from ibsuite import seeds

TIES, ORDER = 1001, 1002  # what the draws below are for; keeps their generators apart


def content_digests(x: Tensor) -> list[bytes]:
    """SHA-256 of each example's own bytes, 32 bytes each.

    Args:
        x: Examples along the first dimension, on the CPU; bytes are those of its dtype, little endian.
    """
    rows = x.detach().contiguous().view(len(x), -1).numpy()
    return [hashlib.sha256(row).digest() for row in rows]


def canonical_order(digests: Sequence[bytes], order_seed: int) -> Tensor:
    """Stock index of each coding position, (n,), int64: sorted by content, then permuted by the seed.

    Sorting makes the order independent of how the files were laid out. Examples with the same
    content are told apart by a fixed permutation and not by their stock index: where a folder per
    class is read, the index would say which of two identical images has the smaller class.

    Args:
        digests: One digest per example, in stock order.
        order_seed: Seed of the permutation.
    """
    count = len(digests)
    ties = torch.randperm(count, generator=seeds.generator(TIES)).tolist()
    by_content = sorted(range(count), key=lambda i: (digests[i], ties[i]))
    permutation = torch.randperm(count, generator=seeds.generator(order_seed, ORDER))
    return torch.tensor(by_content, dtype=torch.int64)[permutation]


def digests_sha256(digests: Sequence[bytes], order: Tensor) -> str:
    """SHA-256 of the digests in coding order: the same inputs in the same order, or not."""
    return hashlib.sha256(b"".join(digests[i] for i in order.tolist())).hexdigest()


def labels_sha256(labels: Tensor) -> str:
    """SHA-256 of the labels as little-endian int64, in coding order."""
    return hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()
