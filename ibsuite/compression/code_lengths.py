"""What symbols cost by codes that know how often each occurs, bits."""

import heapq
import math

import torch
from torch import Tensor


def _checked(counts: Tensor) -> list[int]:
    """How often each symbol occurs that does occur."""
    if counts.ndim != 1 or counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise ValueError("Counts must be whole numbers, one for each symbol, in a vector.")
    if (counts < 0).any():
        raise ValueError("Counts must not be negative.")
    return [count for count in counts.tolist() if count]


def entropy_bits(counts: Tensor) -> float:
    """Empirical entropy times the number m of symbols, bits: sum_j m_j log2(m / m_j).

    No code that gives every symbol a word of its own is shorter, for these frequencies.

    Args:
        counts: m_j, how often each symbol occurs, (k,), whole numbers.

    Raises:
        ValueError: counts are negative, not whole, or not a vector.
    """
    given = _checked(counts)
    total = sum(given)
    return math.fsum(count * math.log2(total / count) for count in given)


def huffman_bits(counts: Tensor) -> int:
    """Length of all symbols by Huffman's code, the shortest prefix code there is, bits; without its table.

    It lies between the entropy and a bit a symbol more. A symbol that is alone needs no bits, for
    how many there are is known.

    Args:
        counts: how often each symbol occurs, (k,), whole numbers.

    Raises:
        ValueError: counts are negative, not whole, or not a vector.

    Source: Huffman 1952.
    """
    heap = _checked(counts)
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:  # whoever is below a new node gets a bit longer
        node = heapq.heappop(heap) + heapq.heappop(heap)
        bits += node
        heapq.heappush(heap, node)
    return bits


def shannon_bits(counts: Tensor) -> int:
    """Length of all symbols by Shannon's code, bits: sum_j m_j ceil(log2(m / m_j)).

    The paper takes it for that of Huffman's code, which is never longer.

    Args:
        counts: m_j, how often each symbol occurs, (k,), whole numbers.

    Raises:
        ValueError: counts are negative, not whole, or not a vector.

    Source: Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), Section 5.3.
    """
    given = _checked(counts)
    total = sum(given)
    # The least whole l with 2^l >= m / m_j, in whole numbers: 2^l >= q for q = m / m_j rounded up.
    return sum(count * (-(-total // count) - 1).bit_length() for count in given)


def paper_ratio(*counts: Tensor, weight_bits: int = 32) -> float:
    """Compression ratio r of a codebook of k values: m b / (sum_j m_j ceil(log2(m / m_j)) + k b).

    Args:
        counts: m_j, how often each of the k values of a codebook occurs, (k,), whole numbers; one vector for
            every tensor that has a codebook of its own: both sides are then summed over tensors.
        weight_bits: b, of a weight before and of a value in the codebook.

    Raises:
        ValueError: there are no symbols; counts are negative, not whole, or not a vector.

    Source: Gao, Liu, Wang & Oh 2019 (arXiv 1810.06401), Section 5.3.
    """
    code = sum(shannon_bits(each) for each in counts)
    symbols = sum(sum(_checked(each)) for each in counts)
    if not symbols:
        raise ValueError("The ratio of no weights is not defined; give counts of at least one.")
    return weight_bits * symbols / (code + weight_bits * sum(len(each) for each in counts))
