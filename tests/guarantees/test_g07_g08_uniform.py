"""G7, G8: no run does worse than uniform plus a few bits, and random labels do not compress."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_runs import small_code, small_method
from torch import Tensor

from ibsuite.callbacks import PrequentialCode
from ibsuite.codes import free_minimum_bits, uniform_bits
from ibsuite.data import Digits


class Overconfident(type(small_method())):  # type: ignore[misc]
    """Sure of class 0 whenever it is asked for a prediction."""

    def logits(self, x: Tensor) -> Tensor:
        if self.training:
            return super().logits(x)
        return torch.full((len(x), 10), -1e4).scatter(1, torch.zeros(len(x), 1, dtype=torch.int64), 1e4)


def bound_bits(code: PrequentialCode) -> float:
    """Uniform - log2 pi(uniform throughout)."""
    return uniform_bits(100, 10) + 1 + math.log2(len(code.priced.predictions.names))


def test_g7_a_broken_predictor_costs_only_what_the_prior_says(fit: Callable[..., Any]) -> None:
    code = fit(method=Overconfident(small_method().network))
    assert code.priced.predictions.total_bits <= bound_bits(code)
    assert code.priced.predictions.compared()["final_epoch_bits"] > 10 * uniform_bits(
        100, 10
    )  # plainly: in full


def test_g7_planted_violation_a_code_that_does_not_hold_the_uniform_predictor(
    fit: Callable[..., Any],
) -> None:
    alone = small_code(mixture=None, stops=[1.0], temperatures=[1.0])
    code = fit(code=alone, method=Overconfident(small_method().network))
    assert code.priced.predictions.total_bits > bound_bits(code)


def test_g7_a_predictor_that_is_not_finite_counts_as_uniform(fit: Callable[..., Any]) -> None:
    class Broken(type(small_method())):  # type: ignore[misc]
        def logits(self, x: Tensor) -> Tensor:
            return super().logits(x) * (1.0 if self.training else float("nan"))

    code = fit(method=Broken(small_method().network))
    assert code.priced.predictions.plain == pytest.approx([uniform_bits(n, 10) for n in (8, 16, 32, 36)])


@pytest.mark.parametrize("seed", range(6))
def test_g8_random_labels_do_not_compress(fit: Callable[..., Any], seed: int) -> None:
    data = Digits(num_labels=512, batch_size=32, random_labels=1.0, label_seed=seed)
    code = fit(data, small_code(min_steps=40, max_steps=40), small_method())
    assert code.priced.predictions.total_bits >= uniform_bits(512, 10) - 64


def test_g8_planted_violation_a_free_minimum_against_label_frequencies() -> None:
    """A released program prices each block at the better of uniform and the block's own frequencies."""
    labels = torch.randint(10, (20, 500), generator=torch.Generator().manual_seed(0))
    claimed = 0.0
    for block in labels:
        frequencies = torch.bincount(block, minlength=10).double() / len(block)
        own = torch.log2(frequencies)[block]
        uniform = torch.full_like(own, -math.log2(10))
        claimed += free_minimum_bits(torch.stack([own, uniform]).numpy(), [0])
    assert claimed < uniform_bits(labels.numel(), 10) - 64
