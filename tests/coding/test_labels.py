"""The label stream: exact counts, lengths within G9, and bytes that never crash the receiver."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ibsuite.coding import LabelReceiver, LabelSender, integer_probabilities

TOTAL = 2**24
Array = NDArray[np.float64]
INF = np.inf


def encode(labels: NDArray[np.int64], counts: NDArray[np.int32]) -> bytes:
    sender = LabelSender()
    sender.send(labels, counts)
    return sender.data()


def confident(n: int, classes: int, bits: float, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Log2-probabilities under which the labels drawn from them have about so many ``bits`` in all."""
    logits = rng.normal(size=(n, classes))
    labels = rng.integers(0, classes, n)
    logits[np.arange(n), labels] = logits.max(1) + rng.gamma(2, size=n) + 0.1  # mostly sure, never wrong
    low, high = 0.0, 500.0
    for _ in range(45):
        scale = (low + high) / 2
        log2_probs = log2_softmax(scale * logits)
        too_long = -log2_probs[np.arange(n), labels].sum() > bits
        low, high = (scale, high) if too_long else (low, scale)
    return log2_probs, labels


def log2_softmax(logits: Array) -> Array:
    return np.asarray(torch.from_numpy(logits).log_softmax(1).numpy() / np.log(2))


# Counts


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_counts_are_within_one_of_their_share_and_add_up(classes: int) -> None:
    log2_probs = log2_softmax(np.random.default_rng(classes).normal(0, 4, (500, classes)))
    counts = integer_probabilities(log2_probs)
    assert counts.dtype == np.int32
    assert (counts.sum(1) == TOTAL).all()
    share = (TOTAL - classes) * np.exp2(log2_probs)
    best = share.argmax(1)[:, None]
    others = np.ones_like(counts, dtype=bool)
    np.put_along_axis(others, best, False, axis=1)
    np.testing.assert_array_equal(counts[others], 1 + np.floor(share[others]))
    assert (counts >= share).all()  # so no label costs more than what rescaling to 2^24 - K costs


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        ([0, -INF, -INF], [TOTAL - 2, 1, 1]),
        ([-INF, -3, -INF], [1, TOTAL - 2, 1]),
        ([-1, -1, -INF], [TOTAL // 2, TOTAL // 2 - 1, 1]),
        ([-5000, -INF, -5000], [TOTAL // 2, 1, TOTAL // 2 - 1]),
        ([0, -2000, -1e308], [TOTAL - 2, 1, 1]),
        ([1e308, -1e308, 0], [TOTAL - 2, 1, 1]),
        ([np.nan, 0, -INF], [5592406, 5592405, 5592405]),
        ([INF, 0, -INF], [5592406, 5592405, 5592405]),
        ([INF, np.nan, INF], [5592406, 5592405, 5592405]),
        ([-INF, -INF, -INF], [5592406, 5592405, 5592405]),
        ([0, 0, 0], [5592406, 5592405, 5592405]),
    ],
)
def test_extremes_have_a_defined_answer_that_decodes(row: list[float], counts: list[int]) -> None:
    found = integer_probabilities(np.array(row))
    assert found.tolist() == [counts]
    for labels in itertools.product(range(3), repeat=3):
        each = np.repeat(found, 3, axis=0)
        data = encode(np.array(labels), each)
        assert LabelReceiver(data).receive(each).tolist() == list(labels)


def test_a_row_has_the_same_counts_whoever_stands_beside_it() -> None:
    log2_probs = log2_softmax(np.random.default_rng(0).normal(0, 5, (20_001, 9)))
    log2_probs[7, 3] = np.nan
    together = integer_probabilities(log2_probs)
    for i in (0, 6, 7, 8, 16_383, 16_384, 20_000):
        np.testing.assert_array_equal(integer_probabilities(log2_probs[i])[0], together[i])
    np.testing.assert_array_equal(integer_probabilities(torch.from_numpy(log2_probs)), together)
    np.testing.assert_array_equal(integer_probabilities(np.asfortranarray(log2_probs)), together)
    np.testing.assert_array_equal(integer_probabilities(log2_probs[::-3]), together[::-3])


@pytest.mark.parametrize("shape", [(4, 1), (4, 0), (2, 3, 4)])
def test_what_is_no_table_of_distributions_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distributions must be"):
        integer_probabilities(np.zeros(shape))


# Exactly these counts are coded


@pytest.mark.parametrize("classes", [2, 3, 10, 300])
def test_the_interval_is_that_of_the_counts(classes: int) -> None:
    """Against the textbook recurrence on Python's integers, where counts are uneven and some are 1."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 8, (400, classes))
    counts = integer_probabilities(log2_softmax(logits))
    labels = rng.integers(0, classes, 400)
    low, width, shift = 0, 2**64 - 1, 0
    for label, row in zip(labels.tolist(), counts.tolist(), strict=True):
        part = width // TOTAL
        low, width = low + part * sum(row[:label]), part * row[label]
        if width < 2**32:
            low, width, shift = low << 32, width << 32, shift + 32
    data = encode(labels, counts)
    point = int.from_bytes(data, "big") << 64 + shift >> 8 * len(data)
    assert low <= point < low + width
    shorter = int.from_bytes(data[:-1], "big") << 64 + shift >> 8 * (len(data) - 1)
    assert not low <= shorter < low + width


# Lengths


def ideal_bits(log2_probs: Array, labels: NDArray[np.int64]) -> float:
    return -float(log2_probs[np.arange(len(labels)), labels].sum())


def excess_bits(log2_probs: Array, labels: NDArray[np.int64]) -> float:
    """Bits above what G9 allows: 64, and 0.1 % of the ideal length."""
    counts = integer_probabilities(log2_probs)
    data = encode(labels, counts)
    np.testing.assert_array_equal(LabelReceiver(data).receive(counts), labels)
    return 8 * len(data) - 1.001 * ideal_bits(log2_probs, labels) - 64


@pytest.mark.parametrize(
    ("n", "classes", "bits"),
    [
        (1797, 10, 200),
        (1797, 10, 3),
        (1797, 10, 3000),
        (60_000, 10, 1000),
        (60_000, 10, 13_517),
        (500, 1000, 90),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_of_which_the_network_is_sure(n: int, classes: int, bits: int, seed: int) -> None:
    log2_probs, labels = confident(n, classes, bits, np.random.default_rng(seed))
    assert ideal_bits(log2_probs, labels) == pytest.approx(bits, rel=1e-6)
    assert excess_bits(log2_probs, labels) <= 0
    counts = integer_probabilities(log2_probs)
    assert 8 * len(encode(labels, counts)) <= 24 + 1.001 * bits + 0.0003 * n


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_labels_of_which_nothing_is_known(classes: int) -> None:
    labels = np.random.default_rng(classes).integers(0, classes, 5000)
    assert excess_bits(np.full((5000, classes), -np.log2(classes)), labels) <= 0


@pytest.mark.parametrize("share", [1.0001, 1.5, 1.9999, 2.0001, 5.9999])
def test_probabilities_at_the_grid_cost_no_whole_step(share: float) -> None:
    """Every label is a class that got a few counts out of 2^24: rounding down would cost up to 4 %."""
    p = np.full((2000, 10), share / TOTAL)
    p[:, 0] = 1 - 9 * share / TOTAL
    labels = np.random.default_rng(0).integers(1, 10, 2000)
    assert excess_bits(np.log2(p), labels) <= 0


@pytest.mark.parametrize("spread", [0.01, 1, 30, 3000])
def test_labels_against_which_the_network_bets(spread: float) -> None:
    """The least probable label each time; what is below 2^-24 costs 24 bits."""
    log2_probs = log2_softmax(np.random.default_rng(1).normal(0, spread, (3000, 10)))
    labels = log2_probs.argmin(1)
    assert excess_bits(log2_probs, labels) <= 0
    assert 8 * len(encode(labels, integer_probabilities(log2_probs))) <= 24 * 3000 + 64


def test_even_a_stream_made_to_waste_the_interval_stays_within_its_bound() -> None:
    """Labels in turn that narrow the interval to its least width, and many sure ones that stay there."""
    narrow = [np.log2([2**-24, 1 - 2**-24]), np.log2([2**-7, 1 - 2**-7])]
    sure = np.array([-INF, 0.0])
    log2_probs = np.array([*narrow, *[sure] * 600] * 20)
    labels = np.array([0, 0, *[1] * 600] * 20)
    counts = integer_probabilities(log2_probs)
    data = encode(labels, counts)
    np.testing.assert_array_equal(LabelReceiver(data).receive(counts), labels)
    ideal = ideal_bits(log2_probs, labels)
    assert 31 * 20 <= ideal <= 8 * len(data) <= ideal - len(labels) * np.log2(1 - 2**-8) + 64


# Calls and streams


def test_calls_may_be_cut_anywhere_on_either_side() -> None:
    rng = np.random.default_rng(3)
    log2_probs = log2_softmax(rng.normal(0, 3, (40_000, 5)))
    labels, counts = rng.integers(0, 5, 40_000), integer_probabilities(log2_probs)
    whole = encode(labels, counts)
    sender = LabelSender()
    for start, stop in itertools.pairwise([0, 0, 1, 2, 100, 20_000, 40_000]):
        sender.send(torch.from_numpy(labels[start:stop]), counts[start:stop])
        assert sender.data() == encode(labels[:stop], counts[:stop])  # looking changes nothing
    assert sender.data() == whole
    at_once = LabelReceiver(whole).receive(counts)
    assert at_once.dtype == np.int64
    np.testing.assert_array_equal(at_once, labels)
    receiver = LabelReceiver(whole)
    one_by_one = [int(receiver.receive(row)[0]) for row in counts[:300]]
    np.testing.assert_array_equal([*one_by_one, *receiver.receive(counts[300:])], labels)


def test_numbers_of_classes_may_change_within_a_stream() -> None:
    few, many = integer_probabilities(np.zeros((4, 2))), integer_probabilities(np.zeros((3, 1000)))
    sender = LabelSender()
    sender.send(np.array([1, 0, 0, 1]), few)
    sender.send(np.array([999, 0, 500]), many)
    receiver = LabelReceiver(sender.data())
    assert receiver.receive(few).tolist() == [1, 0, 0, 1]
    assert receiver.receive(many).tolist() == [999, 0, 500]


def test_no_labels_are_no_bytes() -> None:
    counts = integer_probabilities(np.zeros((0, 10)))
    assert encode(np.zeros(0, np.int64), counts) == b""
    assert LabelReceiver(b"").receive(counts).tolist() == []


def test_what_does_not_fit_is_refused() -> None:
    counts = integer_probabilities(np.zeros((2, 3)))
    for labels, message in (
        ([0], "1 labels for 2"),
        ([0, 3], "0 to 2, got 0 to 3"),
        ([-1, 0], "got -1 to 0"),
    ):
        with pytest.raises(ValueError, match=message):
            encode(np.array(labels), counts)
    for wrong in (counts - 1, counts[:, :2], np.array([[0, TOTAL]]), np.array([[TOTAL]])):
        with pytest.raises(ValueError, match="counts must be"):
            LabelReceiver(b"abc").receive(wrong)


# Altered bytes


def fuzz_case() -> tuple[NDArray[np.int64], NDArray[np.int32], bytes]:
    rng = np.random.default_rng(5)
    log2_probs = log2_softmax(rng.normal(0, 4, (600, 10)))
    labels = np.array([rng.choice(10, p=np.exp2(row)) for row in log2_probs])
    counts = integer_probabilities(log2_probs)
    return labels, counts, encode(labels, counts)


def read(data: bytes, counts: NDArray[np.int32]) -> NDArray[np.int64] | None:
    try:
        return LabelReceiver(data).receive(counts)
    except ValueError:
        return None


def test_flipped_bits_give_other_labels_or_a_refusal() -> None:
    labels, counts, data = fuzz_case()
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        found = read(bytes(altered), counts)
        assert found is None or ((found >= 0) & (found < 10)).all()
        # The last byte may have bits to spare: other points of the same interval.
        assert bit >= 8 * len(data) - 8 or found is None or (found != labels).any()


def test_cut_streams_and_noise_never_crash() -> None:
    labels, counts, data = fuzz_case()
    for length in range(len(data)):
        found = read(data[:length], counts)
        assert found is None or (found != labels).any()  # nothing shorter would do
    rng = np.random.default_rng(6)
    for _ in range(500):
        read(rng.bytes(int(rng.integers(0, 200))), counts)
    assert read(b"\xff" * 40, counts) is None


def test_behind_the_end_there_are_labels_too() -> None:
    labels, counts, data = fuzz_case()
    receiver = LabelReceiver(data)
    np.testing.assert_array_equal(receiver.receive(counts), labels)
    more = receiver.receive(np.tile(counts, (20, 1)))
    assert ((more >= 0) & (more < 10)).all()
    np.testing.assert_array_equal(LabelReceiver(data + bytes(50)).receive(counts), labels)


def test_labels_read_under_other_distributions_are_others() -> None:
    labels, counts, data = fuzz_case()
    found = read(data, np.ascontiguousarray(counts[:, ::-1]))
    assert found is None or (found != labels).any()
