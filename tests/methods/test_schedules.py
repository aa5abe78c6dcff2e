"""The learning rate as a function of progress."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch

from ibsuite.interface import Refusal
from ibsuite.methods.schedules import Decay, learning_rate_factor

DECAYS = get_args(Decay)
ENDS = {"cosine": 0.0, "linear": 0.0, "exponential": 0.97**100, "constant": 1.0}
MIDDLES = {"cosine": 0.5, "linear": 0.5, "exponential": 0.97**50, "constant": 1.0}


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.9])
def test_ends_and_continuity(decay: Decay, warmup: float) -> None:
    assert learning_rate_factor(0.0, warmup, decay) == pytest.approx(1 / 25)
    assert learning_rate_factor(warmup, warmup, decay) == pytest.approx(1.0)
    assert learning_rate_factor(warmup - 1e-9, warmup, decay) == pytest.approx(1.0, abs=1e-6)
    assert learning_rate_factor(1.0, warmup, decay) == pytest.approx(ENDS[decay])
    middle = learning_rate_factor((1 + warmup) / 2, warmup, decay)
    assert middle == pytest.approx(MIDDLES[decay])


@pytest.mark.parametrize("decay", DECAYS)
def test_rises_then_falls(decay: Decay) -> None:
    factors = [learning_rate_factor(i / 400, 0.25, decay) for i in range(401)]
    assert all(a < b for a, b in pairwise(factors[:101]))
    assert all(a >= b for a, b in pairwise(factors[100:]))
    assert max(factors) == pytest.approx(1.0)
    assert min(factors) >= 0


@pytest.mark.parametrize("decay", DECAYS)
def test_no_warm_up_and_nothing_else(decay: Decay) -> None:
    assert learning_rate_factor(0.0, 0.0, decay) == 1.0
    with pytest.raises(Refusal, match="warmup"):
        learning_rate_factor(0.5, 1.0, decay)


def test_outside_of_the_training() -> None:
    assert learning_rate_factor(-0.5, 0.25, "cosine") == learning_rate_factor(0.0, 0.25, "cosine")
    assert learning_rate_factor(1.5, 0.25, "cosine") == learning_rate_factor(1.0, 0.25, "cosine")


def test_cosine_is_the_decay_of_torchs_one_cycle_policy() -> None:
    """From the peak on: torch ends at 1e-9 of it, which is zero here."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, pct_start=26 / 101, div_factor=25, final_div_factor=4e7
    )
    rates = []
    for _ in range(101):
        rates.append(cycle.get_last_lr()[0])
        optimizer.step()
        if len(rates) < 101:
            cycle.step()
    peak = rates.index(max(rates))
    for step in range(peak, 101):
        assert learning_rate_factor(step / 100, peak / 100, "cosine") == pytest.approx(rates[step], abs=1e-6)
    assert rates[0] == pytest.approx(learning_rate_factor(0, 0.25, "cosine"))
    assert not math.isclose(rates[peak + 30], 1.0)


@pytest.mark.parametrize("decay", DECAYS)
def test_holding_the_peak(decay: Decay) -> None:
    for progress in (0.1, 0.3, 0.6):
        assert learning_rate_factor(progress, 0.1, decay, 0.5) == pytest.approx(1.0)
    assert learning_rate_factor(0.05, 0.1, decay, 0.5) == learning_rate_factor(0.05, 0.1, decay)
    assert learning_rate_factor(0.8, 0.1, decay, 0.5) == pytest.approx(MIDDLES[decay])
    assert learning_rate_factor(1.0, 0.1, decay, 0.5) == pytest.approx(ENDS[decay])
    with pytest.raises(Refusal, match="hold"):
        learning_rate_factor(0.5, 0.5, decay, 0.5)


def test_exponential_decay_loses_three_percent_with_every_hundredth() -> None:
    factors = [learning_rate_factor(i / 100, 0.0, "exponential") for i in range(101)]
    assert [b / a for a, b in pairwise(factors)] == pytest.approx([0.97] * 100)
