"""A mixture of Gaussians around the outputs: brute force, closed forms, and what may never be passed."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ibsuite.information import kernel_bounds, linear_gaussian_mi_bits, mixture_information


def sample(n: int, d: int, noise_std: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    centres = torch.randn(n, d, generator=draws, dtype=torch.float64)
    return centres, centres + noise_std * torch.randn(n, d, generator=draws, dtype=torch.float64)


def mixture(centres: Tensor, noise_std: float) -> MixtureSameFamily:
    parts = Independent(Normal(centres, noise_std), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(centres)).double()), parts)


def test_brute_force() -> None:
    centres, noisy = sample(9, 3, 0.7)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])
    frequencies = torch.tensor([4, 3, 2]).double() / 9
    lower, upper, relevance = 0.0, 0.0, 0.0
    for i, t in enumerate(noisy):
        own = Independent(Normal(centres[i], 0.7), 1).log_prob(t)
        others = [j for j in range(9) if j != i]
        lower += float(own - mixture(centres, 0.7).log_prob(t)) / 9
        upper += float(own - mixture(centres[others], 0.7).log_prob(t)) / 9
        k = torch.stack([Independent(Normal(centres[j], 0.7), 1).log_prob(t).exp() for j in others])
        share = float(k[labels[others] == labels[i]].sum() / k.sum())
        p = float(frequencies[labels[i]])
        relevance += math.log((8 / 9 * share + p / 9) / p) / 9
    for chunk in (1024, 4):
        found = mixture_information(centres, noisy, 0.7, labels, 3, chunk)
        told = [estimate.heldout_bits * math.log(2) for estimate in found]
        assert told == pytest.approx([lower, upper, relevance], rel=1e-9)
    names = [estimate.field(name) for estimate, name in zip(found, ("mi_xl", "mi_xl", "mi_yl"), strict=True)]
    assert names == ["mi_xl_lower_bits", "mi_xl_upper_bits", "mi_yl_lower_bits"]


@pytest.mark.parametrize("noise_std", [0.5, 2.0])
def test_gaussians_lie_between_the_bounds_which_are_nearer_than_those_of_distances(noise_std: float) -> None:
    centres, noisy = sample(2000, 2, noise_std)
    truth = linear_gaussian_mi_bits(torch.eye(2), torch.eye(2), noise_std**2 * torch.eye(2))
    found = mixture_information(centres, noisy, noise_std, torch.zeros(2000, dtype=torch.int64), 1)
    lower, upper = found.mi_xt_lower, found.mi_xt_upper
    slack = 3 * (lower.standard_error_bits or 0.0)
    assert lower.heldout_bits < truth + slack
    assert upper.heldout_bits > truth - slack
    by_distances = kernel_bounds(centres, noise_std)
    assert by_distances.lower_bits < lower.heldout_bits
    assert upper.heldout_bits < by_distances.upper_bits
    assert upper.heldout_bits - lower.heldout_bits < 0.1
    assert found.mi_yt_lower.heldout_bits == pytest.approx(0.0, abs=1e-12)


def test_two_far_classes_are_known_and_mixed_ones_are_not() -> None:
    centres, noisy = sample(400, 3, 0.3)
    labels = torch.arange(400) % 2
    apart = labels[:, None] * 100.0
    known = mixture_information(centres + apart, noisy + apart, 0.3, labels, 2).mi_yt_lower
    assert known.heldout_bits == pytest.approx(1.0, abs=0.01)
    unknown = mixture_information(centres, noisy, 0.3, labels, 2).mi_yt_lower
    assert unknown.heldout_bits < 3 * (unknown.standard_error_bits or 0.0)


def test_hardly_any_noise_tells_the_inputs_apart_and_an_outlier_says_little_of_its_label() -> None:
    centres, noisy = sample(50, 3, 1e-6)
    found = mixture_information(centres, noisy, 1e-6, torch.arange(50) % 5, 5)
    assert found.mi_xt_lower.heldout_bits == pytest.approx(math.log2(50))
    assert found.mi_xt_lower.certified
    assert found.mi_xt_upper.heldout_bits > 1e6
    assert found.mi_yt_lower.heldout_bits < math.log2(5)


def test_a_common_shift_changes_nothing() -> None:
    centres, noisy = sample(100, 3, 0.5)
    labels = torch.arange(100) % 4
    near = mixture_information(centres, noisy, 0.5, labels, 4)
    far = mixture_information(centres + 1e6, noisy + 1e6, 0.5, labels, 4)
    for one, other in zip(near, far, strict=True):
        assert one.heldout_bits == pytest.approx(other.heldout_bits, abs=1e-6)


def test_what_is_broken_is_refused() -> None:
    centres, noisy = sample(4, 2, 1.0)
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="is infinite"):
        mixture_information(centres, noisy, 0.0, labels, 2)
    with pytest.raises(ValueError, match="at least two"):
        mixture_information(centres[:1], noisy[:1], 1.0, labels[:1], 2)
    with pytest.raises(ValueError, match="labels"):
        mixture_information(centres, noisy, 1.0, labels[:2], 2)
