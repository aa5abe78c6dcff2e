"""G1: units are explicit, and the yardstick is right."""

import math
import re
from pathlib import Path

import pytest
import torch

import ibsuite
from ibsuite.codes import uniform_bits
from ibsuite.units import bits_to_nats, nats_to_bits

SOURCES = sorted(Path(ibsuite.__file__).parent.rglob("*.py"))
LOG_TWO = re.compile(r"log\(\s*2(\.0*)?\s*\)|0\.6931|1\.4427|\bLN2\b|\bM_LN2\b")


def test_sixty_thousand_mnist_labels_cost_199_kbit() -> None:
    assert uniform_bits(60_000, 10) == pytest.approx(199_315.69, abs=0.005)
    assert uniform_bits(50_000, 10) == pytest.approx(166_096.40, abs=0.005)


def test_nats_and_bits_are_inverse() -> None:
    assert nats_to_bits(math.log(8)) == pytest.approx(3.0, abs=1e-15)
    assert bits_to_nats(nats_to_bits(torch.tensor(1.7, dtype=torch.float64))).item() == pytest.approx(1.7)


def test_log_two_is_written_in_one_file_only() -> None:
    written = [path.name for path in SOURCES if LOG_TWO.search(path.read_text())]
    assert written == ["units.py"]


def test_planted_violation_a_second_conversion_is_found() -> None:
    assert LOG_TWO.search("bits = nats / math.log(2)")
