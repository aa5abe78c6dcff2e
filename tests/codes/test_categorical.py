"""Codelengths under logits, against torch's cross entropy and by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from ibsuite.codes import codelength_bits, label_log2_probs, log2_probabilities, uniform_bits


def test_uniform_codelengths_of_the_papers_data_sets() -> None:
    assert round(uniform_bits(60_000, 10) / 1000, 3) == 199.316
    assert round(uniform_bits(50_000, 10) / 1000, 3) == 166.096
    assert round(uniform_bits(50_000, 100) / 1000, 3) == 332.193
    assert uniform_bits(7, 1) == 0
    assert uniform_bits(0, 10) == 0
    zeros = torch.zeros(60_000, 10)
    bits = codelength_bits(zeros, torch.zeros(60_000, dtype=torch.long))
    assert bits == pytest.approx(199_315.6857, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_bits_are_cross_entropy_in_another_unit(dtype: torch.dtype, temperature: float) -> None:
    torch.manual_seed(0)
    logits, labels = (4 * torch.randn(50, 7)).to(dtype), torch.randint(7, (50,))
    nats = F.cross_entropy(logits.double() / temperature, labels, reduction="sum")
    assert codelength_bits(logits, labels, temperature) == pytest.approx(float(nats) / math.log(2), rel=1e-13)
    every = log2_probabilities(logits, temperature)
    assert every.dtype == torch.float64
    torch.testing.assert_close(torch.exp2(every).sum(1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(label_log2_probs(logits, labels, temperature), every[range(50), labels])


def test_by_hand() -> None:
    logits = torch.tensor([[math.log(1.0), math.log(3.0)]]).double()
    assert codelength_bits(logits, torch.tensor([0])) == pytest.approx(2.0)
    # At T = 1/2 the odds are squared: 1 to 9.
    assert codelength_bits(logits, torch.tensor([1]), 0.5) == pytest.approx(math.log2(10 / 9))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_label_without_finite_logits_is_uniform_and_no_other(bad: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 5)
    broken = logits.clone()
    broken[2, 3] = bad
    before, after = log2_probabilities(logits), log2_probabilities(broken)
    torch.testing.assert_close(after[2], torch.full((5,), -math.log2(5), dtype=torch.float64))
    keep = [0, 1, 3]
    assert torch.equal(before[keep], after[keep])


def test_huge_logits_keep_their_price() -> None:
    logits = torch.tensor([[1e30, 0.0], [3e38, -3e38], [1e4, 0.0]])
    bits = -label_log2_probs(logits, torch.tensor([0, 0, 1]))
    assert bits[0] == 0
    assert bits[1] == 0
    assert bits[2] == pytest.approx(1e4 / math.log(2))


def test_sums_are_float64() -> None:
    """A million float32 terms of 1e-3 nat would be off by far more than this."""
    logits = torch.tensor([[0.0, math.log(math.expm1(1e-3))]]).expand(1_000_000, 2)
    one = -float(label_log2_probs(logits[:1], torch.tensor([0])))
    total = codelength_bits(logits, torch.zeros(1_000_000, dtype=torch.long))
    assert total == pytest.approx(1_000_000 * one, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        codelength_bits(torch.zeros(1, 2), torch.tensor([0]), temperature)


def test_no_labels_cost_nothing() -> None:
    assert codelength_bits(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)) == 0
