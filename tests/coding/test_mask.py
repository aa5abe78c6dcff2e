import numpy as np
import pytest
from numpy.typing import NDArray

from ibsuite.coding.mask import mask_bits_at_most, pass_mask
from ibsuite.coding.stream import Receiver, Sender


def recounted(x: NDArray[np.int64]) -> list[float]:
    """Probability of a one at every place, each counted anew from all that was sent before it."""
    padded = np.pad(x, ((1, 0), (1, 0)))
    around = padded[1:, :-1] + padded[:-1, 1:]
    places = [(i, j) for i in range(x.shape[0]) for j in range(x.shape[1])]
    weights, mixed = np.array([0.5, 0.5]), []
    for n, (i, j) in enumerate(places):
        before = places[:n]
        g = (sum(x[at] for at in before) + 0.5) / (n + 1)
        odds = [(x[i, :j].sum() + 4 * g) / (j + 4), (x[:i, j].sum() + 4 * g) / (i + 4)]
        odds = np.prod([share / (1 - share) for share in odds]) / (g / (1 - g))
        alike = [x[at] for at in before if around[at] == around[i, j]]
        p = np.array([odds / (1 + odds), (sum(alike) + 0.5) / (len(alike) + 1)])
        mixed.append(float(weights @ p))
        weights = weights * (p if x[i, j] else 1 - p)
        weights = 63 / 64 * weights / weights.sum() + 1 / 128
    return mixed


@pytest.mark.parametrize("shape", [(7, 9), (1, 20), (20, 1), (1, 1)])
def test_probabilities_are_those_of_the_formulas(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(3).integers(0, 2, shape) * np.random.default_rng(4).integers(0, 2, shape)
    sender = Sender()
    pass_mask(sender, *shape, x.flatten() > 0, "mask")
    ((_, probabilities, _),) = sender.sent
    assert probabilities == pytest.approx(np.array(recounted(x)), rel=1e-12)
    assert np.array_equal(pass_mask(Receiver(sender.payload()), *shape, None, ""), x.flatten())


def mask_bits(x: NDArray[np.int64]) -> float:
    sender = Sender()
    pass_mask(sender, *x.shape, x.flatten() > 0, "mask")
    return sender.charges()["mask"]


def test_unused_units_and_inputs_are_cheap() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((60, 100)) < 0.5).astype(np.int64)
    rows, columns = x.copy(), x.copy()
    rows[rng.random(60) < 0.5] = 0
    columns[:, rng.random(100) < 0.5] = 0
    free = mask_bits(x)
    assert 6000 < free < 6000 + 100  # one bit an entry: nothing to gain, next to nothing lost
    assert mask_bits(rows) < 0.62 * free
    assert mask_bits(columns) < 0.7 * free


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 400), (40, 10), (400, 1)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.97, 1.0])
def test_no_mask_costs_more_than_its_bound(shape: tuple[int, int], share: float) -> None:
    rng, size = np.random.default_rng(5), shape[0] * shape[1]
    ones = round(share * size)
    ordered = np.repeat([1, 0], [ones, size - ones])
    found = []
    for flat in (ordered, ordered[::-1], rng.permutation(ordered), np.roll(ordered, size // 3)):
        found.append(mask_bits(flat.reshape(shape)))
        assert found[-1] < mask_bits_at_most(size - ones, size)
    assert mask_bits_at_most(size - ones, size) < max(found) + 0.02 * size + 18


def test_no_entries_cost_nothing() -> None:
    assert mask_bits_at_most(0, 0) == 0.0
