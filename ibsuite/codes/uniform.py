"""The uniform code: the yardstick that needs no model."""

import math


def uniform_bits(num_labels: int, num_classes: int) -> float:
    """Codelength of ``num_labels`` labels under the uniform code, bits.

    L_unif = n log2 K (Blier & Ollivier 2018, section 2.3); 60,000 MNIST labels cost 199.316 kbit.
    """
    return num_labels * math.log2(num_classes)
