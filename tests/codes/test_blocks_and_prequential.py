"""Where labels are cut, and the prequential sum over the pieces."""

import math
from itertools import pairwise

import pytest
import torch

from ibsuite.codes import check_blocks, codelength_bits, geometric_blocks, prequential_bits, uniform_bits
from ibsuite.interface import Refusal

MNIST = [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 60000]
CIFAR = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960, 50000]


def test_schedules_of_the_paper() -> None:
    """Blier & Ollivier 2018, Appendix D."""
    assert geometric_blocks(60_000, 8) == MNIST
    assert geometric_blocks(50_000, 10) == CIFAR


@pytest.mark.parametrize(("first", "ratio"), [(1, 1.3), (1, 1.05), (8, 1.5), (3, 7.0), (2, 1.3)])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 1797])
def test_any_ratio_gives_increasing_ends(n: int, first: int, ratio: float) -> None:
    ends = geometric_blocks(n, first, ratio)
    assert ends[-1] == n
    assert all(a < b for a, b in pairwise([0, *ends]))
    rounded = {round(first * ratio**k) for k in range(200)}
    assert set(ends[:-1]) == {end for end in rounded if end < n}


def test_fewer_labels_than_the_first_block() -> None:
    assert geometric_blocks(5, 8) == [5]
    assert geometric_blocks(8, 8) == [8]
    assert geometric_blocks(9, 8) == [8, 9]


@pytest.mark.parametrize(("first", "ratio"), [(0, 2.0), (-1, 2.0), (8, 1.0), (8, 0.5)])
def test_blocks_that_do_not_grow_are_refused(first: int, ratio: float) -> None:
    with pytest.raises(Refusal):
        geometric_blocks(100, first, ratio)


def test_given_blocks_are_completed_and_cut() -> None:
    assert check_blocks([10, 100, 1000], 1797) == [10, 100, 1000, 1797]
    assert check_blocks([10, 100, 1000], 100) == [10, 100]
    assert check_blocks([10, 100], 50) == [10, 50]
    assert check_blocks([1000], 50) == [50]


@pytest.mark.parametrize("ends", [[10, 10, 20], [20, 10], [0, 10], [-3, 10]])
def test_given_blocks_must_increase(ends: list[int]) -> None:
    with pytest.raises(Refusal, match="increasing"):
        check_blocks(ends, 100)


def test_prequential_codelength_is_the_sum_of_its_blocks() -> None:
    torch.manual_seed(0)
    blocks = [(torch.randn(n, 4), torch.randint(4, (n,))) for n in (3, 6, 11)]
    by_hand = 5 * 2.0  # five labels of four classes
    for logits, labels in blocks:
        for row, label in zip(logits.double(), labels, strict=True):
            probability = float(row[label].exp() / row.exp().sum())
            by_hand -= math.log2(probability)
    assert prequential_bits(blocks, num_first=5, num_classes=4) == pytest.approx(by_hand, rel=1e-12)
    assert prequential_bits([], 5, 4) == 10.0
    zeros = [(torch.zeros(n, 4), labels) for n, (_, labels) in zip((3, 6, 11), blocks, strict=True)]
    assert prequential_bits(zeros, 5, 4) == pytest.approx(uniform_bits(25, 4), rel=1e-14)


def test_prequential_use_with_a_model_of_ones_own() -> None:
    """A classifier by class means, refitted at each block end: three lines of use, and it compresses."""
    torch.manual_seed(0)
    y = torch.randint(2, (200,))
    x = torch.randn(200, 3) + 2.5 * y[:, None]
    ends, blocks = geometric_blocks(200, 8), []
    for t, u in pairwise(ends):
        means = torch.stack([x[:t][y[:t] == c].mean(0) for c in range(2)])
        blocks.append((-(x[t:u, None] - means).square().sum(-1) / 2, y[t:u]))
    bits = prequential_bits(blocks, ends[0], 2)
    assert bits == pytest.approx(8 + codelength_bits(torch.cat([b[0] for b in blocks]), y[8:]), rel=1e-12)
    assert bits < 0.3 * uniform_bits(200, 2)
