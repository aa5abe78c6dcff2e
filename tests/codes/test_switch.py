"""Switch codes against enumeration of every switch sequence, and against the Kraft equality."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ibsuite.codes import (
    BlockState,
    SwitchState,
    block_bits,
    block_mixture,
    free_minimum_bits,
    hindsight_switch_bits,
    switch_distribution,
)

Array = NDArray[np.float64]


def random_log2_probs(predictors: int, n: int, seed: int) -> Array:
    return np.log2(np.random.default_rng(seed).uniform(0.01, 0.99, (predictors, n)))


def pi_t(t: int, after: int) -> float:
    """pi_T(t | t > after) for pi_T(t) = 1 / (t (t + 1)), whose tail sum_{u > s} is 1 / (s + 1)."""
    return (after + 1) / (t * (t + 1))


def segmentations(n: int) -> Iterator[tuple[int, ...]]:
    """Every increasing (t_1 = 1, ..., t_m) within 1..n."""
    for later in itertools.product([False, True], repeat=n - 1):
        yield (1, *(t for t, switched in zip(range(2, n + 1), later, strict=True) if switched))


def sequences(n: int, prior: Array) -> Iterator[tuple[float, tuple[int, ...], list[int]]]:
    """(prior mass but for the number of segments, their starts, predictor of each label)."""
    for times in segmentations(n):
        chance = math.prod(pi_t(t, before) for before, t in itertools.pairwise(times))
        lengths = np.diff([*times, n + 1])
        for chosen in itertools.product(range(len(prior)), repeat=len(times)):
            mass = chance * math.prod(float(prior[k]) for k in chosen)
            yield mass, times, np.repeat(chosen, lengths).tolist()


def enumerated_bits(log2_probs: Array, prior: Array, theta: float) -> float:
    """-log2 of the sum over all switch sequences, those that go on after label n included."""
    n, total = log2_probs.shape[1], 0.0
    for mass, times, path in sequences(n, prior):
        m = len(times)
        # Either m segments in all, or more of them, the next one beginning after label n.
        number = theta ** (m - 1) * (1 - theta) + theta**m * (times[-1] + 1) / (n + 1)
        total += mass * number * 2 ** sum(log2_probs[k, i] for i, k in enumerate(path))
    return -math.log2(total)


def test_enumeration_is_a_distribution() -> None:
    assert enumerated_bits(np.zeros((3, 5)), np.array([0.2, 0.5, 0.3]), 0.7) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("theta", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_switch_distribution_is_the_sum_over_all_sequences(n: int, theta: float) -> None:
    log2_probs, prior = random_log2_probs(3, n, n), np.array([0.2, 0.5, 0.3])
    mixture = switch_distribution(log2_probs, prior, theta)
    assert mixture.bits == pytest.approx(enumerated_bits(log2_probs, prior, theta), abs=1e-11)
    assert mixture.log2_probs.dtype == np.float64


def test_switch_distribution_longer_with_uniform_prior() -> None:
    log2_probs = random_log2_probs(3, 6, 0)
    third = np.full(3, 1 / 3)
    bits = switch_distribution(log2_probs).bits
    assert bits == pytest.approx(enumerated_bits(log2_probs, third, 0.5), abs=1e-11)
    for theta in (0.3, 0.6):
        assert abs(bits - enumerated_bits(log2_probs, third, theta)) > 1e-4  # the test can fail


def test_each_label_is_priced_by_the_ratio_of_evidences() -> None:
    """Label by label, so that a mixture cut short is the mixture of what was sent."""
    log2_probs, prior = random_log2_probs(3, 5, 7), np.array([0.6, 0.3, 0.1])
    mixture = switch_distribution(log2_probs, prior)
    for i in range(5):
        bits = -float(mixture.log2_probs[: i + 1].sum())
        assert bits == pytest.approx(enumerated_bits(log2_probs[:, : i + 1], prior, 0.5), abs=1e-11)


def test_weights_sum_to_one_and_price_the_label() -> None:
    log2_probs = random_log2_probs(4, 200, 1)
    log2_probs[0] -= 3
    mixture = switch_distribution(log2_probs)
    np.testing.assert_allclose(mixture.weights.sum(0), 1.0, rtol=0, atol=1e-12)
    assert (mixture.weights >= 0).all()
    mixed = np.log2((mixture.weights * np.exp2(log2_probs)).sum(0))
    np.testing.assert_allclose(mixed, mixture.log2_probs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mixture.weights[:, 0], 0.25)


def test_weights_do_not_look_ahead() -> None:
    log2_probs = random_log2_probs(3, 10, 2)
    other = log2_probs.copy()
    other[:, 6:] = random_log2_probs(3, 4, 3)
    a, b = switch_distribution(log2_probs), switch_distribution(other)
    np.testing.assert_array_equal(a.weights[:, :7], b.weights[:, :7])
    np.testing.assert_array_equal(a.log2_probs[:6], b.log2_probs[:6])
    assert not np.allclose(a.weights[:, 7], b.weights[:, 7])


# Kraft: over all label strings, a proper code's 2^-L add up to one.

Predictor = Callable[[Sequence[int]], Sequence[float]]


def indifferent(past: Sequence[int]) -> Sequence[float]:
    return (0.5, 0.5)


def stubborn(past: Sequence[int]) -> Sequence[float]:
    return (0.9, 0.1) if past and past[-1] == 0 else (0.05, 0.95)


def counting(past: Sequence[int]) -> Sequence[float]:
    ones = (sum(past) + 1) / (len(past) + 2)
    return (1 - ones, ones)


def certain(past: Sequence[int]) -> Sequence[float]:
    return (1.0, 0.0) if len(past) % 3 else (0.5, 0.5)


def kraft_sum(bits: Callable[[Array], float], n: int, predictors: Sequence[Predictor]) -> float:
    total = 0.0
    for string in itertools.product((0, 1), repeat=n):
        table = [[p(string[:i])[string[i]] for i in range(n)] for p in predictors]
        with np.errstate(divide="ignore"):
            total += 2 ** -bits(np.log2(np.array(table)))
    return total


PAST = (indifferent, stubborn, counting, certain)


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.9])
def test_kraft_equality_of_the_switch_distribution(theta: float) -> None:
    prior = np.array([0.4, 0.1, 0.3, 0.2])
    total = kraft_sum(lambda p: switch_distribution(p, prior, theta).bits, 6, PAST)
    assert total == pytest.approx(1, abs=1e-12)


def test_kraft_equality_of_the_block_mixture() -> None:
    assert kraft_sum(lambda p: block_mixture(p, [0, 1, 4]).bits, 6, PAST[:3]) == pytest.approx(1, abs=1e-12)


def test_kraft_inequality_of_the_best_sequence_in_hindsight() -> None:
    assert kraft_sum(lambda p: hindsight_switch_bits(p, [0, 1, 3]), 6, PAST) < 1


def test_free_minimum_is_not_a_code() -> None:
    assert kraft_sum(lambda p: free_minimum_bits(p, [0, 1, 3]), 6, PAST) > 1.1


# Regret


@pytest.mark.parametrize("seed", range(3))
def test_regret_against_each_predictor_alone(seed: int) -> None:
    log2_probs = random_log2_probs(5, 300, seed) * np.array([1, 2, 0.3, 1, 1])[:, None]
    log2_probs[4] = -math.log2(10)  # the uniform predictor, ten classes
    bits = switch_distribution(log2_probs).bits
    assert bits <= -log2_probs.sum(1).max() + 1 + math.log2(5) + 1e-9
    log2_probs[:4] = -20  # whatever the others say
    assert switch_distribution(log2_probs).bits <= 300 * math.log2(10) + 1 + math.log2(5)


def test_regret_against_a_switching_sequence() -> None:
    """Predictor 0 is right on labels 1..40, 1 on 41..100: three parts of the prior, all known."""
    log2_probs = np.full((2, 100), -5.0)
    log2_probs[0, :40] = log2_probs[1, 40:] = -0.1
    prior_bits = 2 * math.log2(2) + 2 - math.log2(pi_t(41, 1))
    regret = switch_distribution(log2_probs).bits - 100 * 0.1
    assert 0 < regret <= prior_bits
    bayes = switch_distribution(log2_probs, switch_probability=0.0)
    assert bayes.bits > 100 * 0.1 + 150  # one that never switches cannot follow


# Extremes


def test_tiny_probabilities_do_not_underflow() -> None:
    log2_probs = np.array([[-2000.0, -2000.0, -3000.0], [-2001.0, -2000.0, -2999.0]])
    shift = np.array([2000.0, 2000.0, 2999.0])
    mixture, plain = switch_distribution(log2_probs), switch_distribution(log2_probs + shift)
    assert mixture.bits == pytest.approx(plain.bits + shift.sum(), abs=1e-9)
    np.testing.assert_array_equal(mixture.weights, plain.weights)


def test_predictors_that_take_turns_at_being_impossible() -> None:
    """Each is excluded once, so only a switch survives: 2 segments in {(1,k), (2,other)} or more."""
    log2_probs = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    half = np.full(2, 0.5)
    bits = switch_distribution(log2_probs).bits
    assert bits == pytest.approx(enumerated_bits(np.maximum(log2_probs, -1e6), half, 0.5), abs=1e-12)
    # Two segments or more (1/2), switched at label 2 (1/3), from 0 to 1 (1/4).
    assert bits == pytest.approx(math.log2(24), abs=1e-12)


def test_a_hopeless_predictor_costs_only_its_prior() -> None:
    log2_probs = np.stack([np.full(50, -0.5), np.full(50, -np.inf)])
    mixture = switch_distribution(log2_probs)
    assert np.isfinite(mixture.bits)
    assert mixture.bits <= 25 + 2


def test_a_label_that_nobody_allows_is_refused() -> None:
    log2_probs = np.array([[0.0, -np.inf], [0.0, -np.inf]])
    with pytest.raises(ValueError, match="label 1 probability zero"):
        switch_distribution(log2_probs)


@pytest.mark.parametrize("prior", [[0.5, 0.6], [1.5, -0.5], [0.2, 0.3, 0.5]])
def test_a_prior_must_be_one(prior: list[float]) -> None:
    log2_probs = random_log2_probs(2, 3, 0)
    with pytest.raises(ValueError, match="prior"):
        switch_distribution(log2_probs, np.array(prior))
    with pytest.raises(ValueError, match="prior"):
        block_mixture(log2_probs, [0], np.array(prior))


def test_one_predictor_is_itself() -> None:
    log2_probs = random_log2_probs(1, 20, 0)
    for mixture in (switch_distribution(log2_probs), block_mixture(log2_probs, [0, 5])):
        np.testing.assert_allclose(mixture.log2_probs, log2_probs[0], atol=1e-12)


# Blocks

STARTS = [0, 1, 4, 9]


def test_block_mixture_is_a_sum_of_products_in_each_block() -> None:
    log2_probs, prior = random_log2_probs(3, 12, 4), np.array([0.5, 0.2, 0.3])
    mixture = block_mixture(log2_probs, STARTS, prior)
    for start, stop in itertools.pairwise([*STARTS, 12]):
        direct = sum(w * math.prod(2.0 ** log2_probs[k, start:stop]) for k, w in enumerate(prior))
        assert mixture.log2_probs[start:stop].sum() == pytest.approx(math.log2(direct), abs=1e-11)
        np.testing.assert_allclose(mixture.weights[:, start], prior, atol=1e-12)
        best = -log2_probs[:, start:stop].sum(1) - np.log2(prior)
        assert -mixture.log2_probs[start:stop].sum() <= best.min() + 1e-12
    mixed = np.log2((mixture.weights * np.exp2(log2_probs)).sum(0))
    np.testing.assert_allclose(mixed, mixture.log2_probs, atol=1e-11)
    np.testing.assert_allclose(mixture.weights.sum(0), 1, atol=1e-12)


def test_block_mixture_survives_zeros_and_tiny_probabilities() -> None:
    log2_probs = np.array([[0.0, -np.inf, -1.0], [-3000.0, -2000.0, -1.0]])
    mixture = block_mixture(log2_probs, [0])
    assert mixture.bits == pytest.approx(5001 + 1, abs=1e-9)
    np.testing.assert_allclose(mixture.weights[:, 2], [0, 1])


def test_block_bits_and_the_free_minimum_by_hand() -> None:
    log2_probs = -np.array([[1.0, 2, 3, 4], [2, 2, 1, 9]])
    np.testing.assert_array_equal(block_bits(log2_probs, [0, 1, 2]), [[1, 2, 7], [2, 2, 10]])
    assert free_minimum_bits(log2_probs, [0, 1, 2]) == 1 + 2 + 7
    assert free_minimum_bits(log2_probs, [0]) == 10
    assert free_minimum_bits(log2_probs, [0, 1, 2, 3]) == 1 + 2 + 1 + 4


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hindsight_is_the_minimum_over_all_sequences(seed: int, theta: float) -> None:
    log2_probs = 8 * random_log2_probs(3, 12, seed)
    starts = [0, 1, 4, 5, 9]
    costs = block_bits(log2_probs, starts)
    best = min(
        sum(costs[k, b] for b, k in enumerate(path))
        - math.log2(mass * theta ** (len(times) - 1) * (1 - theta))
        for mass, times, path in sequences(len(starts), np.full(3, 1 / 3))
    )
    found = hindsight_switch_bits(log2_probs, starts, theta)
    assert found == pytest.approx(best, abs=1e-10)
    assert found >= free_minimum_bits(log2_probs, starts)
    # On the same time scale the mixture, which needs no look-ahead, is never longer.
    assert switch_distribution(-costs, switch_probability=theta).bits <= found


def test_prior_costs_of_the_facts_table() -> None:
    """A switch at each of 13 blocks costs 61 / 92 / 135 bits for 2 / 10 / 100 predictors."""
    for predictors, bits in ((2, 61), (10, 92), (100, 135)):
        costs = np.full((predictors, 13), 1e6)
        costs[np.arange(13) % 2, np.arange(13)] = 0
        assert hindsight_switch_bits(-costs, list(range(13))) == pytest.approx(bits, abs=0.5)


# Label by label, as a receiver finds them

GOLDEN = np.array(
    [
        [-5, -4, -3, -2, -2, -1, -1, -1],
        [-1, -5, -4, -5, -3, -4, -5, -4],
        [-4, -3, -3, -np.inf, -2, -5, -4, -1],
    ]
)


def test_weights_are_these_to_the_last_bit() -> None:
    """Powers of two and three predictors: every machine rounds alike. A message must decode for ever."""
    mixture = switch_distribution(GOLDEN, np.array([0.5, 0.25, 0.25]), 0.25)
    for label, weights in (
        (4, ["0x1.b68e28b743434p-1", "0x1.19665cf28a660p-3", "0x1.8c20060d11af0p-8"]),
        (7, ["0x1.fc6294a03231ep-1", "0x1.e51204676626cp-9", "0x1.b8595b666806ap-9"]),
    ):
        assert mixture.weights[:, label].tolist() == [float.fromhex(weight) for weight in weights]
    bits = [float.fromhex(price) for price in ("0x1.56cb0f6865c8ep+1", "0x1.1c601cb845c17p+2")]
    assert (-mixture.log2_probs[:2]).tolist() == pytest.approx(bits, rel=1e-15)


@pytest.mark.parametrize("prior", [None, np.array([0.5, 0.0, 0.3, 0.2])])
@pytest.mark.parametrize("theta", [0.0, 0.5, 1.0])
def test_a_receiver_has_the_weights_of_the_sender_bit_for_bit(prior: Array | None, theta: float) -> None:
    log2_probs = random_log2_probs(4, 300, 5)
    log2_probs[0, 17] = -np.inf
    mixture, state = switch_distribution(log2_probs, prior, theta), SwitchState(4, prior, theta)
    for i in range(300):
        np.testing.assert_array_equal(state.weights, mixture.weights[:, i])
        assert state.update(log2_probs[:, i]) == mixture.log2_probs[i]


@pytest.mark.parametrize("prior", [None, np.array([0.5, 0.0, 0.3, 0.2])])
@pytest.mark.parametrize("predictors", [1, 4, 30])
def test_a_state_for_each_block_is_the_block_mixture(prior: Array | None, predictors: int) -> None:
    prior = prior if predictors == 4 else None
    log2_probs = random_log2_probs(predictors, 500, 6)
    log2_probs[1:, 30] = -np.inf
    starts = [0, 1, 20, 200]
    mixture = block_mixture(log2_probs, starts, prior)
    for start, stop in itertools.pairwise([*starts, 500]):
        state = BlockState(predictors, prior)
        for i in range(start, stop):
            np.testing.assert_allclose(state.weights, mixture.weights[:, i], rtol=0, atol=1e-12)
            assert state.update(log2_probs[:, i]) == pytest.approx(mixture.log2_probs[i], abs=1e-12)


@pytest.mark.parametrize("kind", [SwitchState, BlockState])
def test_weights_price_the_next_label_whichever_it_is(kind: type[SwitchState | BlockState]) -> None:
    """A receiver mixes all classes with the weights: their probabilities add up to one."""
    rng, state = np.random.default_rng(7), kind(3)
    np.testing.assert_allclose(state.weights, 1 / 3, rtol=1e-15)
    for _ in range(20):
        p = rng.dirichlet(np.ones(5), 3)
        mixed = state.weights @ p
        assert mixed.sum() == pytest.approx(1, abs=1e-12)
        label = rng.integers(5)
        assert state.update(np.log2(p[:, label])) == pytest.approx(math.log2(mixed[label]), abs=1e-12)


@pytest.mark.parametrize("kind", [SwitchState, BlockState])
def test_a_state_refuses_what_nobody_allows_and_stays_as_it_was(kind: type[SwitchState | BlockState]) -> None:
    state = kind(2, np.array([1.0, 0.0]))
    state.update(np.array([-1.0, -2.0]))
    before = state.weights
    for impossible in ([-np.inf, -np.inf], [-np.inf, -1.0]):
        with pytest.raises(ValueError, match="probability zero"):
            state.update(np.array(impossible))
    np.testing.assert_array_equal(state.weights, before)
    with pytest.raises(ValueError, match="prior"):
        kind(2, np.array([0.5, 0.6]))
