"""What the callback makes of logits, against the codes applied by hand to the whole run."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ibsuite.callbacks.plan import TrainingLength, plan_trainings
from ibsuite.callbacks.predictions import Predictions
from ibsuite.codes import class_frequency_log2_probs, codelength_bits, prequential_bits, switch_distribution

ENDS, K = [4, 9, 20, 31], 3
STOPS, TEMPERATURES = [0.5, 1.0], [0.5, 1.0, 2.0]


def labels(changed_from: int = 31) -> Tensor:
    y = torch.randint(K, (31,), generator=torch.Generator().manual_seed(1))
    y[changed_from:] = (y[changed_from:] + 1) % K
    return y


def logits() -> list[list[Tensor]]:
    draws = torch.Generator().manual_seed(2)
    sizes = np.diff(ENDS)
    return [[2 * torch.randn(int(n), K, generator=draws) for _ in STOPS] for n in sizes]


def predictions(y: Tensor, mixture: Any, settings: int = 1) -> Predictions:
    stops, temperatures = (STOPS, TEMPERATURES) if mixture else ([1.0], [1.0])
    plan = plan_trainings(ENDS, TrainingLength(1, 10, 10), 1, stops, final=True)
    sequence: Any = SimpleNamespace(labels=y, num_classes=K, num_labels=31)
    found = Predictions(sequence, plan, len(stops), temperatures, mixture, settings)
    for training, at_stops in zip(plan, logits(), strict=False):
        given = at_stops if mixture else at_stops[-1:]
        found.add_block(training, given, ["hash"] * len(given), 0.0)
    return found


def by_hand(y: Tensor) -> np.ndarray:
    """Every predictor's log2-probability of every label after the first block."""
    rows = [
        torch.cat(
            [
                torch.log_softmax(block[stop].double() / t, 1)[range(b - a), y[a:b]]
                for block, a, b in zip(logits(), ENDS, ENDS[1:], strict=False)
            ]
        )
        / math.log(2)
        for stop in range(2)
        for t in TEMPERATURES
    ]
    rows.append(torch.full((27,), -math.log2(3)).double())
    rows.append(class_frequency_log2_probs(y, K)[range(31), y][4:])
    return torch.stack(rows).numpy()


def test_plain_code_is_the_prequential_sum() -> None:
    y = labels()
    found = predictions(y, None)
    blocks = [(block[-1], y[a:b]) for block, a, b in zip(logits(), ENDS, ENDS[1:], strict=False)]
    assert found.total_bits == pytest.approx(prequential_bits(blocks, 4, K), rel=1e-12)
    assert found.compared() == {"final_epoch_bits": pytest.approx(found.total_bits, rel=1e-12)}
    for row, (given, its) in zip(found.rows[1:], blocks, strict=True):
        assert row["bits"] == pytest.approx(codelength_bits(given, its), rel=1e-12)
        assert row["accuracy"] == pytest.approx(float((given.argmax(1) == its).double().mean()))


def test_switch_code_is_one_mixture_over_the_whole_run() -> None:
    y = labels()
    found = predictions(y, "switch")
    np.testing.assert_allclose(found.log2_probs, by_hand(y), rtol=0, atol=1e-6)
    whole = 4 * math.log2(3) + switch_distribution(by_hand(y)).bits
    assert found.total_bits == pytest.approx(whole, abs=1e-5)
    assert found.compared()["switch_mixture_bits"] == pytest.approx(found.total_bits, abs=1e-9)
    assert len(found.names) == len(by_hand(y)) == 8


def test_block_code_begins_each_block_afresh() -> None:
    y = labels()
    table, total = by_hand(y), 4 * math.log2(3)
    for a, b in ((0, 5), (5, 16), (16, 27)):
        total -= math.log2(np.mean(np.exp2(table[:, a:b].sum(1))))
    found = predictions(y, "block")
    assert found.total_bits == pytest.approx(total, abs=1e-5)
    assert found.compared()["block_mixture_bits"] == pytest.approx(found.total_bits, abs=1e-9)


def test_readings_are_ordered_as_they_must_be() -> None:
    found = predictions(labels(), "switch")
    compared = found.compared()
    assert compared["free_minimum_bits"] <= compared["final_epoch_bits"]
    assert compared["free_minimum_bits"] <= compared["hindsight_switch_bits"]
    costs = -by_hand(labels())[:6]
    free = sum(costs[:, a:b].sum(1).min() for a, b in ((0, 5), (5, 16), (16, 27)))
    assert compared["free_minimum_bits"] == pytest.approx(4 * math.log2(3) + free, abs=1e-5)
    assert found.total_bits <= 31 * math.log2(3) + 1 + math.log2(8)  # the uniform predictor is inside


def test_settings_that_were_compared_are_charged() -> None:
    assert predictions(labels(), "switch", 8).total_bits == pytest.approx(
        predictions(labels(), "switch").total_bits + 3, abs=1e-9
    )
    assert predictions(labels(), "switch", 8).charges["choices"] == 3
    assert "choices" not in predictions(labels(), "switch").charges


def test_rows_cover_every_label_once_and_add_up() -> None:
    found = predictions(labels(), "switch")
    assert [(row["start"], row["stop"]) for row in found.rows] == [(0, 4), (4, 9), (9, 20), (20, 31)]
    assert math.fsum(row["bits"] for row in found.rows) == pytest.approx(found.total_bits, rel=1e-14)
    assert found.rows[-1]["cumulative_bits"] == pytest.approx(found.total_bits, rel=1e-14)
    assert found.rows[-1]["ratio"] == pytest.approx(found.total_bits / (31 * math.log2(3)))
    assert found.rows[0]["bits"] == pytest.approx(4 * math.log2(3))


@pytest.mark.parametrize("mixture", ["switch", "block"])
@pytest.mark.parametrize("changed_from", [9, 14, 30])
def test_a_label_changes_no_prediction_up_to_its_own(mixture: Any, changed_from: int) -> None:
    a, b = predictions(labels(), mixture), predictions(labels(changed_from), mixture)
    told = changed_from - 4
    x, y = a.mixture(), b.mixture()
    np.testing.assert_array_equal(x.weights[:, : told + 1], y.weights[:, : told + 1])
    np.testing.assert_array_equal(x.log2_probs[:told], y.log2_probs[:told])
    assert x.log2_probs[told] != y.log2_probs[told]


def test_what_a_receiver_decodes_with_is_a_distribution_that_prices_the_label() -> None:
    y = labels()
    found = predictions(y, "switch")
    plan = plan_trainings(ENDS, TrainingLength(1, 10, 10), 1, STOPS, final=True)
    mixture = found.mixture()
    for training, at_stops in zip(plan, logits(), strict=False):
        own = slice(training.prefix - 4, training.stop - 4)
        mixed = found.mix(found.distributions(training, at_stops), mixture.weights[:, own])
        torch.testing.assert_close(mixed.sum(1), torch.ones(len(mixed), dtype=torch.float64))
        its = mixed[range(len(mixed)), y[training.prefix : training.stop]]
        np.testing.assert_allclose(np.log2(its.numpy()), mixture.log2_probs[own], atol=1e-9)


def test_a_network_that_is_not_finite_counts_as_uniform() -> None:
    plan = plan_trainings(ENDS, TrainingLength(1, 10, 10), 1, [1.0], final=True)
    sequence: Any = SimpleNamespace(labels=labels(), num_classes=K, num_labels=31)
    found = Predictions(sequence, plan, 1, [1.0], None)
    found.add_block(plan[0], [torch.full((5, K), float("nan"))], ["hash"], 0.0)
    assert found.total_bits == pytest.approx(9 * math.log2(3))


def test_state_is_what_was_priced() -> None:
    found = predictions(labels(), "switch")
    plan = plan_trainings(ENDS, TrainingLength(1, 10, 10), 1, STOPS, final=True)
    sequence: Any = SimpleNamespace(labels=labels(), num_classes=K, num_labels=31)
    other = Predictions(sequence, plan, 2, TEMPERATURES, "switch")
    other.load_state_dict(found.state_dict())
    assert other.total_bits == found.total_bits
    assert other.compared() == found.compared()


def test_a_length_that_may_be_compared_at_every_block() -> None:
    """Bits so far, and log2 K for each label that is still to come; the total when none is."""
    found = predictions(labels(), "switch", settings=8)
    final, rows, told = found.total_bits, found.rows, []
    for count in range(2, len(rows) + 1):
        found.rows = rows[:count]
        told.append(found.logged())
    assert [row["labels_sent"] for row in told] == [9, 20, 31]
    for row in told:
        unsent = 31 - row["labels_sent"]
        assert row["code/total_bits"] == pytest.approx(row["code/sent_bits"] + unsent * math.log2(K))
        assert row["code/compression_ratio"] == pytest.approx(row["code/total_bits"] / (31 * math.log2(K)))
    assert told[-1]["code/total_bits"] == told[-1]["code/sent_bits"] == final
    assert told[0]["code/sent_bits"] < told[-1]["code/sent_bits"]  # which is why it must not be minimised
