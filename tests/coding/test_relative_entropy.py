"""A draw from a Gaussian posterior as bytes: as short as its KL says, and like a draw from it."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ibsuite.coding import DrawStream, decode_draw, encode_draw
from ibsuite.coding import relative_entropy as module

Floats = NDArray[np.float64]
CONSTANT_BITS = 64
"""What a message may take beside 1.25 x KL: check, schedule, number of steps, whole bytes."""


def kl_bits(mean: Floats, std: Floats) -> float:
    """KL(N(mean, std^2) || N(0, 1)) in closed form, bits."""
    return float((0.5 * (mean**2 + std**2 - 1) - np.log(std)).sum() / math.log(2))


def log_ratio_bits(mean: Floats, std: Floats, draw: Floats) -> float:
    """log2 q(draw) / p(draw), by the densities."""
    z = (draw - mean) / std
    return float(((draw**2 - z**2) / 2 - np.log(std)).sum() / math.log(2))


def posterior(size: int, bits: float, seed: int = 0, moved_only: bool = False) -> tuple[Floats, Floats]:
    """Means with heavy tails, and narrower standard deviations the farther they are, of a given KL."""
    random = np.random.default_rng(seed)
    direction = random.standard_normal(size) * np.exp(1.5 * random.standard_normal(size))
    narrow = 0.0 if moved_only else random.uniform(size=size)
    low, high = 1e-6, 50.0
    for _ in range(60):
        scale = math.sqrt(low * high)
        mean = scale * direction
        std = 1 / np.sqrt(1 + 4 * narrow * scale * np.abs(mean))
        low, high = (scale, high) if kl_bits(mean, std) < bits else (low, scale)
    return mean, std


def sent(mean: Floats, std: Floats, seed: int = 0, settings: bytes = b"") -> tuple[DrawStream, Floats]:
    """A message, and what its receiver finds."""
    stream = encode_draw(mean, std, seed, settings)
    draw, found = decode_draw(stream.data, len(mean), seed, len(settings))
    assert found == settings
    return stream, draw


@pytest.mark.parametrize("moved_only", [True, False])
@pytest.mark.parametrize(
    ("size", "bits"), [(300, 100.0), (1000, 1000.0), pytest.param(2000, 5000.0, marks=pytest.mark.slow)]
)
def test_a_message_is_little_longer_than_the_kl(size: int, bits: float, moved_only: bool) -> None:
    mean, std = posterior(size, bits, moved_only=moved_only)
    stream, draw = sent(mean, std, settings=b"abc")
    assert stream.kl_bits == pytest.approx(bits, rel=1e-6)
    assert 0.9 * bits <= 8 * len(stream.data) <= 1.25 * bits + CONSTANT_BITS + 24
    assert stream.log_ratio_bits == pytest.approx(log_ratio_bits(mean, std, draw), abs=1e-6)


def test_a_draw_is_like_one_from_the_posterior() -> None:
    """Residuals, their squares, and what they say along the direction that matters; five standard errors."""
    mean, std = posterior(400, 130.0)
    residuals, ratios = [], []
    for seed in range(4):
        stream, draw = sent(mean, std, seed)
        residuals.append((draw - mean) / std)
        ratios.append(stream.log_ratio_bits)
    z = np.concatenate(residuals)
    assert abs(z.mean()) < 5 / math.sqrt(len(z))
    assert abs((z**2).mean() - 1) < 5 * math.sqrt(2 / len(z))
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 5 * math.sqrt(0.6827 * 0.3173 / len(z))
    # Neither a mode nor a straggler: the mode's log-ratio is greater by 0.72 bits a weight, 289 in all.
    assert np.mean(ratios) == pytest.approx(130.0, abs=2.0)
    toward = np.mean([(r * std) @ (mean / std**2) / (mean @ (mean / std**2)) for r in residuals])
    assert abs(toward) < 5 / math.sqrt(4 * mean @ (mean / std**2))


def test_increments_that_depend_on_the_bytes_before_are_what_beams_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where all beams are offered the same increments, a draw as long falls short of the posterior."""
    mean, std = posterior(300, 100.0, moved_only=True)
    monkeypatch.setattr(module, "MOST_STEPS", 1.0)
    ratios = [sent(mean, std)[0].log_ratio_bits]
    monkeypatch.setattr(module, "_next_state", lambda _, byte: np.zeros_like(byte))
    ratios.append(sent(mean, std)[0].log_ratio_bits)
    assert ratios[0] > 96
    assert ratios[1] < 90


def test_bytes_of_a_path_are_nearly_uniform() -> None:
    """So that nothing is lost by sending them as they are."""
    mean, std = posterior(1000, 1000.0)
    stream, _ = sent(mean, std)
    path = np.frombuffer(stream.data, np.uint8)
    assert len(path) > 100
    assert abs(path.mean() - 127.5) < 5 * 73.9 / math.sqrt(len(path))


def test_a_posterior_that_is_the_prior_costs_nothing() -> None:
    zeros, ones = np.zeros(500), np.ones(500)
    stream, draw = sent(zeros, ones)
    assert len(stream.data) <= 3
    assert stream.kl_bits == 0
    assert abs(draw.mean()) < 5 / math.sqrt(500)
    assert abs(draw.var() - 1) < 5 * math.sqrt(2 / 500)
    assert not np.array_equal(draw, sent(zeros, ones, seed=1)[1])


@pytest.mark.parametrize(
    ("mean", "std"),
    [(20.0, 1.0), (0.0, 1e-5), (5.0, 1e-6), (20.0, 1e-3), (0.0, 30.0), (1.0, 1e-12), (1.0, 1e-200)],
)
def test_one_weight_may_hold_nearly_all_the_kl(mean: float, std: float) -> None:
    means, stds = np.full(50, 0.1), np.full(50, 0.9)
    means[7], stds[7] = mean, std
    stream, draw = sent(means, stds)
    assert 8 * len(stream.data) <= 1.25 * stream.kl_bits + CONSTANT_BITS
    if std > 1e-10:
        assert abs(draw[7] - mean) < 6 * std


def test_one_weight_alone() -> None:
    stream, draw = sent(np.array([3.0]), np.array([0.01]))
    assert abs(draw[0] - 3) < 0.06
    assert 8 * len(stream.data) <= 1.25 * stream.kl_bits + CONSTANT_BITS


def test_no_weights_at_all() -> None:
    _, draw = sent(np.zeros(0), np.zeros(0), settings=b"x")
    assert draw.shape == (0,)


def test_what_is_too_far_is_refused_before_anything_is_tried() -> None:
    with pytest.raises(ValueError, match=r"a draw of 1 weights that cost .* bits takes too long to find"):
        encode_draw(np.array([1e5]), np.array([1.0]), 0)


@pytest.mark.parametrize(("mean", "std"), [(math.nan, 1.0), (0.0, 0.0), (math.inf, 1.0), (0.0, -1.0)])
def test_what_is_no_gaussian_is_refused(mean: float, std: float) -> None:
    with pytest.raises(ValueError, match="finite means and positive standard deviations"):
        encode_draw(np.array([mean]), np.array([std]), 0)


def test_altered_bytes_are_refused_or_are_other_numbers() -> None:
    """The check tells of every flipped bit; behind it nothing hangs and nothing but ValueError is raised."""
    mean, std = posterior(60, 40.0)
    stream, _ = sent(mean, std, settings=b"abc")
    for bit in range(8 * len(stream.data)):
        altered = bytearray(stream.data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="cut off or altered"):
            decode_draw(bytes(altered), 60, 0, 3)
    for length in range(len(stream.data)):
        with pytest.raises(ValueError, match="cut off or altered"):
            decode_draw(stream.data[:length], 60, 0, 3)


def test_another_seed_is_another_draw() -> None:
    mean, std = posterior(60, 40.0)
    stream, draw = sent(mean, std)
    assert not np.array_equal(decode_draw(stream.data, 60, 1)[0], draw)
