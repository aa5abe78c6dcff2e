"""Several networks a block: their probabilities are averaged, and one is as before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_runs import small_code

from ibsuite.codes import log2_probabilities
from ibsuite.data import Digits


def test_probabilities_are_averaged() -> None:
    logits = torch.randn(3, 5, 4, dtype=torch.float64)
    mean = (logits / 0.7).softmax(-1).mean(0)
    torch.testing.assert_close(log2_probabilities(logits, 0.7), mean.log2())
    torch.testing.assert_close(log2_probabilities(logits[:1]), log2_probabilities(logits[0]))


def test_a_network_that_is_not_finite_makes_the_label_uniform() -> None:
    logits = torch.randn(2, 3, 4)
    logits[1, 2, 0] = float("nan")
    priced = log2_probabilities(logits)
    assert torch.equal(priced[2], torch.full((4,), -2.0, dtype=torch.float64))
    assert not torch.equal(priced[0], priced[2])


def test_every_member_is_another_network(fit: Callable[..., Any]) -> None:
    code = fit(Digits(num_labels=100, batch_size=16), small_code(members=3))
    hashes = code.priced.predictions.model_hashes[0]
    assert len(set(hashes)) == 6  # three networks at two stops
    alone = fit(Digits(num_labels=100, batch_size=16), small_code())
    assert (
        alone.priced.predictions.model_hashes[0] == hashes[:2]
    )  # the first is the one that would be there alone


def test_a_training_stopped_early_lets_its_last_stop_stand_in(fit: Callable[..., Any]) -> None:
    stops = [0.25, 0.5, 0.75, 1.0]
    code = fit(code=small_code(patience=1, withheld=0.3, stops=stops, min_steps=40, max_steps=40))
    early = [hashes for hashes in code.priced.predictions.model_hashes if len(set(hashes)) < 4]
    assert early
    for hashes in early:
        assert hashes[-1] == hashes[-2]


@pytest.mark.parametrize("members", [1, 2])
def test_steps_and_progress_count_every_network(fit: Callable[..., Any], members: int) -> None:
    code = fit(code=small_code(members=members))
    assert code.status().done == code.status().total == members * fit(code=small_code()).status().total
