"""The prequential code for logits from anywhere."""

from collections.abc import Sequence

from torch import Tensor

from ibsuite.codes.categorical import codelength_bits
from ibsuite.codes.uniform import uniform_bits


def prequential_bits(blocks: Sequence[tuple[Tensor, Tensor]], num_first: int, num_classes: int) -> float:
    """Prequential codelength, bits, of labels priced block by block.

    L_preq = t_1 log2 K + sum_s - log2 p_theta(t_s)(y_{t_s + 1 .. t_{s+1}} | x) (Blier & Ollivier 2018,
    Definition 3): the first block is uniform, each later one is priced by logits that a model gave
    after training on earlier labels only.

    Args:
        blocks: (logits, labels) of every block after the first, (n_s, K) and (n_s,).
        num_first: labels in the first block.
        num_classes: K.
    """
    priced = sum(codelength_bits(logits, labels) for logits, labels in blocks)
    return uniform_bits(num_first, num_classes) + priced
