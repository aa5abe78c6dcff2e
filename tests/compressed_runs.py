"""``compression.json`` of a network that has lost units, made by hand."""

import math

from ibsuite.record import Compression
from ibsuite.reporting.published import CLASS_COUNTS

COUNTS = CLASS_COUNTS["MNIST"]
WHOLE_MNIST = {
    "data": {"name": "MNIST", "num_labels": 60_000, "num_classes": 10, "order_sha256": "ab"},
    "uniform_bits": 60_000 * math.log2(10),
    "empirical_entropy_bits": math.fsum(count * math.log2(60_000 / count) for count in COUNTS),
    "parts": [{"start": 0, "stop": 60_000, "bits": 3000.0, "accuracy": 0.99}],
}
"""Fields of ``Codelength`` where all labels of MNIST are sent."""


def small_network(scale: float = 1.0, **changes: object) -> Compression:
    """784-300-100 with 97-71-33 units left; errors and times are multiplied by ``scale``."""
    gates = [
        {
            "name": name,
            "units": units,
            "kept": kept,
            "positions": 1,
            "rate_bits": 4.0 * kept,
            "mi_upper_bits": bits,
            "log_alpha": {"edges": [-8.0, -4.0, 0.0, 4.0], "counts": [kept - 2, 2, units - kept]},
        }
        for name, units, kept, bits in (
            ("layers.0", 784, 97, 500.0),
            ("layers.2", 300, 71, 200.0 * scale),
            ("layers.5", 100, 33, 90.0),
        )
    ]
    fields: dict = {
        "architecture": {"full": "784-300-100", "small": "97-71-33"},
        "weights": {"full": 266_200, "small": 9_560},
        "activations": {"full": 1_184, "small": 201},
        "macs": {"full": 266_200, "small": 9_560},
        "file_bytes": {"full": 1_066_500, "small": 39_512},
        "latency_seconds": {
            "full": {"1": 52e-6 * scale, "128": 1.3e-3 * scale},
            "small": {"1": 41e-6 * scale, "128": 0.31e-3 * scale},
        },
        "max_logit_difference": 1e-6,
        "validation_error_percent": {"removed": 2.5 * scale, "finetuned": 1.75 * scale},
        "test_error_percent": {"removed": 2.0 * scale, "finetuned": 1.5 * scale},
        "gates": gates,
    }
    return Compression(**(fields | changes))
