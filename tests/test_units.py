"""Nats and bits."""

import math

import pytest
import torch

from ibsuite.units import NATS_PER_BIT, bits_to_nats, nats_to_bits


def test_one_bit_is_ln_two_nats() -> None:
    assert abs(NATS_PER_BIT - 0.69314718056) < 1e-11
    assert bits_to_nats(1.0) == NATS_PER_BIT
    assert nats_to_bits(math.log(8)) == pytest.approx(3.0)


def test_known_codelengths() -> None:
    """MNIST uniform is 138.16 knats, CIFAR-10 uniform 115.13 knats."""
    assert bits_to_nats(199_315.69) == pytest.approx(138_155.1, abs=0.1)
    assert nats_to_bits(115_129.25) == pytest.approx(166_096.4, abs=0.1)


def test_tensors_and_round_trip() -> None:
    nats = torch.tensor([0.0, 1.0, -2.5], dtype=torch.float64)
    torch.testing.assert_close(bits_to_nats(nats_to_bits(nats)), nats)
    torch.testing.assert_close(nats_to_bits(nats), torch.log2(nats.exp()))
    assert nats_to_bits(nats).dtype == torch.float64
