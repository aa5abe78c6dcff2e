"""The Krichevsky-Trofimov code against its closed form."""

import itertools
import math

import pytest
import torch

from ibsuite.codes import class_frequency_bits, class_frequency_log2_probs, empirical_entropy_bits


def closed_form_bits(counts: list[int]) -> float:
    """-log2 of Gamma(K/2)/Gamma(n + K/2) prod_c Gamma(n_c + 1/2)/Gamma(1/2): Dirichlet(1/2) evidence."""
    half = len(counts) / 2
    nats = math.lgamma(half) - math.lgamma(sum(counts) + half)
    nats += sum(math.lgamma(c + 0.5) - math.lgamma(0.5) for c in counts)
    return -nats / math.log(2)


@pytest.mark.parametrize("counts", [[3, 0, 5], [1, 0], [0, 1], [200, 30, 1, 0, 9], [7, 7], [0, 0]])
def test_closed_form_in_any_order(counts: list[int]) -> None:
    labels = torch.tensor([c for c, count in enumerate(counts) for _ in range(count)], dtype=torch.long)
    mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    for order in (labels, labels.flip(0), mixed):
        assert class_frequency_bits(order, len(counts)) == pytest.approx(closed_form_bits(counts), abs=1e-9)


def test_by_hand() -> None:
    """Two classes: 1/2, then (1 + 1/2) / 2, then (0 + 1/2) / 3."""
    log2_probs = class_frequency_log2_probs(torch.tensor([0, 0, 1]), 2)
    assert log2_probs.dtype == torch.float64
    expected = torch.tensor([[1 / 2, 1 / 2], [3 / 4, 1 / 4], [5 / 6, 1 / 6]]).double()
    torch.testing.assert_close(torch.exp2(log2_probs), expected, atol=1e-7, rtol=0)
    assert class_frequency_bits(torch.tensor([0, 0, 1]), 2) == pytest.approx(-math.log2(1 / 2 * 3 / 4 / 6))


def test_first_label_is_uniform_and_one_class_is_free() -> None:
    assert class_frequency_bits(torch.tensor([4]), 10) == pytest.approx(math.log2(10))
    assert class_frequency_bits(torch.zeros(20, dtype=torch.long), 1) == 0
    assert class_frequency_log2_probs(torch.zeros(0, dtype=torch.long), 3).shape == (0, 3)


def test_kraft_equality() -> None:
    strings = itertools.product(range(3), repeat=5)
    assert sum(2 ** -class_frequency_bits(torch.tensor(s), 3) for s in strings) == pytest.approx(1, abs=1e-12)


def test_rows_do_not_look_ahead() -> None:
    a, b = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 1, 2, 2, 2])
    x, y = class_frequency_log2_probs(a, 3), class_frequency_log2_probs(b, 3)
    assert torch.equal(x[:4], y[:4])  # row 3 is the prediction of the first label that differs
    assert not torch.equal(x[4], y[4])


def test_empirical_entropy_by_hand() -> None:
    assert empirical_entropy_bits(torch.tensor([0, 1, 1, 1]), 3) == pytest.approx(2 + 3 * math.log2(4 / 3))
    assert empirical_entropy_bits(torch.zeros(5, dtype=torch.long), 10) == 0
