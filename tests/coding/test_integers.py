import math

import numpy as np
import pytest

from ibsuite.coding.integers import IntegerModel
from ibsuite.coding.stream import Receiver, Sender
from ibsuite.units import nats_to_bits


def kt_bits(zeros: int, ones: int) -> float:
    """Length of a sequence under the Krichevsky-Trofimov mixture, in closed form: a beta function."""
    log_beta = math.lgamma(zeros + 0.5) + math.lgamma(ones + 0.5) - math.lgamma(zeros + ones + 1)
    return nats_to_bits(math.log(math.pi) - log_beta)


def test_length_is_the_sum_of_beta_mixtures_over_the_questions() -> None:
    values = [0, 1, -1, 2, 3, -2, 0, 0, 5, 1]
    sender = Sender()
    model = IntegerModel(sender)
    for value in values:
        model.signed(value, "weights")
    counts = {
        "nonzero": (3, 7),
        "negative": (5, 2),
        "more than one digit": (3, 4),
        "more than two": (3, 1),
        "more than three": (1, 0),
        "10 or 11": (2, 1),
        "10x or 11x": (1, 0),
        "100 or 101": (0, 1),
    }
    assert sender.charges()["weights"] == pytest.approx(sum(kt_bits(*pair) for pair in counts.values()))


@pytest.mark.parametrize("spread", [0.5, 30, 1e4, 1e12])
def test_integers_come_back(spread: float) -> None:
    rng = np.random.default_rng(0)
    top = 2**62 - 1
    values = [0, 1, -1, 2**31, -(2**31), top, -top, *(rng.laplace(0, spread, 300)).astype(int).tolist()]
    sender = Sender()
    model = IntegerModel(sender)
    for value in values:
        model.signed(value, "weights")
    model = IntegerModel(Receiver(sender.payload()))
    assert [model.signed(None, "") for _ in values] == values


def test_integers_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="2\\^62"):
        IntegerModel(Sender()).signed(-(2**62), "weights")
