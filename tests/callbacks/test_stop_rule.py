"""Early stopping that sees only labels already sent."""

import pytest
import torch

from ibsuite.callbacks.stop_rule import StopRule
from ibsuite.interface import Refusal


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("prefix", [1, 3, 8, 9, 10, 100, 1797])
def test_split_is_disjoint_complete_and_within_the_prefix(prefix: int, share: float) -> None:
    train, withheld = StopRule(share=share).split(prefix)
    assert sorted([*train.tolist(), *withheld.tolist()]) == list(range(prefix))
    assert len(withheld) == int(prefix * share)
    assert len(train) > 0


def test_a_label_once_withheld_stays_withheld() -> None:
    """As the prefix grows, so that no block's stopping is judged by what an earlier one trained on."""
    rule = StopRule(share=0.2)
    small, large = rule.split(30)[1].tolist(), rule.split(100)[1].tolist()
    assert large[: len(small)] == small


@pytest.mark.parametrize(
    ("patience", "bits", "stops_at"),
    [
        (1, [9, 8, 8], 2),  # no improvement is not an improvement
        (2, [9, 8, 8, 8], 3),
        (2, [9, 10, 8, 9, 7, 8, 9], 6),  # the waiting begins anew after an improvement
        (2, [9, 10, 8.5, 9, 8.9], 4),  # compared with the best, not with the one before
        (3, [5, 6, 6, 6], 3),
        (2, [9, 8, 7, 6, 5], None),
        (1, [float("nan")], 0),
    ],
)
def test_patience(patience: int, bits: list[float], stops_at: int | None) -> None:
    rule = StopRule(patience=patience)
    verdicts = [rule.should_stop(b) for b in bits]
    assert (verdicts.index(True) if True in verdicts else None) == stops_at


def test_restart_forgets_and_state_remembers() -> None:
    rule = StopRule(patience=2)
    for bits in (5.0, 6.0):
        rule.should_stop(bits)
    other = StopRule(patience=2)
    other.load_state_dict(rule.state_dict())
    assert other.should_stop(5.5)
    rule.restart()
    assert not rule.should_stop(100.0)
    assert not rule.should_stop(101.0)


@pytest.mark.parametrize("given", [(0, 0.1), (1, 0.0), (1, 0.6), (1, -0.1)])
def test_refusals(given: tuple[int, float]) -> None:
    with pytest.raises(Refusal):
        StopRule(*given)


def test_splits_are_positions() -> None:
    assert StopRule().split(20)[1].dtype == torch.int64
    assert StopRule().split(20)[1].tolist() == [9, 19]
