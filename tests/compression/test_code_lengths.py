import itertools
import math
from fractions import Fraction

import pytest
import torch

from ibsuite.compression import entropy_bits, huffman_bits, paper_ratio, shannon_bits


def drawn(symbols: int, seed: int, high: int = 200) -> list[int]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(1, high, (symbols,), generator=draws).tolist()


@pytest.mark.parametrize(
    ("counts", "bits"),
    [
        ([1, 1], 2),
        ([8, 4, 2, 1, 1], 8 * 1 + 4 * 2 + 2 * 3 + 4 + 4),
        ([5] * 8, 40 * 3),
        ([7], 0),
        ([0, 7, 0], 0),
        ([], 0),
        ([4, 0, 4], 8),
    ],
)
def test_codes_agree_where_frequencies_are_powers_of_a_half(counts: list[int], bits: int) -> None:
    given = torch.tensor(counts, dtype=torch.int64)
    assert entropy_bits(given) == bits
    assert huffman_bits(given) == bits
    assert shannon_bits(given) == bits


def test_known_answers() -> None:
    counts = torch.tensor([45, 13, 12, 16, 9, 5])  # the example of many a textbook
    assert huffman_bits(counts) == 224
    assert shannon_bits(counts) == 45 * 2 + 13 * 3 + 12 * 4 + 16 * 3 + 9 * 4 + 5 * 5
    assert entropy_bits(counts) == pytest.approx(-sum(c * math.log2(c / 100) for c in counts.tolist()))
    one_bit = torch.tensor([99, 1])
    assert (huffman_bits(one_bit), shannon_bits(one_bit)) == (100, 99 + 7)


@pytest.mark.parametrize("symbols", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(10))
def test_no_prefix_code_is_shorter(symbols: int, seed: int) -> None:
    counts = drawn(symbols, seed, 5 + 20 * seed)
    lengths = itertools.product(range(1, symbols + 1), repeat=symbols)
    codes = [words for words in lengths if sum(Fraction(1, 2**word) for word in words) <= 1]  # Kraft
    least = min(sum(c * word for c, word in zip(counts, words, strict=True)) for words in codes)
    assert huffman_bits(torch.tensor(counts)) == least


@pytest.mark.parametrize("symbols", [2, 3, 17, 200])
@pytest.mark.parametrize("seed", range(5))
def test_entropy_huffman_and_the_paper_in_this_order(symbols: int, seed: int) -> None:
    counts = torch.tensor(drawn(symbols, seed)) ** 2
    total = int(counts.sum())
    entropy, huffman, paper = entropy_bits(counts), huffman_bits(counts), shannon_bits(counts)
    assert entropy <= huffman <= paper
    assert huffman < entropy + total
    assert paper < entropy + total


def test_words_are_exact_where_logarithms_are_not() -> None:
    for power in (40, 50, 60):
        for rest in (-1, 0, 1):
            counts = torch.tensor([2**power + rest - 1, 1])
            word = power + (rest > 0)
            assert shannon_bits(counts) == counts[0] + word


def test_the_paper_s_ratio() -> None:
    counts = torch.tensor([8, 4, 2, 1, 1])
    assert paper_ratio(counts) == 16 * 32 / (30 + 5 * 32)
    assert paper_ratio(counts, weight_bits=16) == 16 * 16 / (30 + 5 * 16)
    assert paper_ratio(torch.tensor([8, 4, 2, 1, 1, 0])) == 16 * 32 / (
        30 + 6 * 32
    )  # a value that nobody takes
    assert paper_ratio(counts, torch.tensor([100])) == 116 * 32 / (30 + 6 * 32)
    assert paper_ratio(torch.tensor([10**6])) == 10**6


def test_bad_counts_are_named() -> None:
    for lengths in (entropy_bits, huffman_bits, shannon_bits, paper_ratio):
        with pytest.raises(ValueError, match="not be negative"):
            lengths(torch.tensor([3, -1]))
        for bad in (torch.tensor([0.5]), torch.ones(2, 2, dtype=torch.int64), torch.tensor([True])):
            with pytest.raises(ValueError, match="whole numbers"):
                lengths(bad)
    for nothing in ((), (torch.tensor([0, 0]),)):
        with pytest.raises(ValueError, match="no weights"):
            paper_ratio(*nothing)
