"""Codelength functions: tensors in, float64 bits out. No training, no trainer."""

from ibsuite.codes.blocks import check_blocks, geometric_blocks
from ibsuite.codes.categorical import codelength_bits, label_log2_probs, log2_probabilities
from ibsuite.codes.class_frequency import (
    class_frequency_bits,
    class_frequency_log2_probs,
    empirical_entropy_bits,
)
from ibsuite.codes.prequential import prequential_bits
from ibsuite.codes.switch import (
    BlockState,
    Mixture,
    SwitchState,
    block_bits,
    block_mixture,
    free_minimum_bits,
    hindsight_switch_bits,
    switch_distribution,
)
from ibsuite.codes.uniform import uniform_bits

__all__ = [
    "BlockState",
    "Mixture",
    "SwitchState",
    "block_bits",
    "block_mixture",
    "check_blocks",
    "class_frequency_bits",
    "class_frequency_log2_probs",
    "codelength_bits",
    "empirical_entropy_bits",
    "free_minimum_bits",
    "geometric_blocks",
    "hindsight_switch_bits",
    "label_log2_probs",
    "log2_probabilities",
    "prequential_bits",
    "switch_distribution",
    "uniform_bits",
]
