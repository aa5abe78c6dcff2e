"""Critics and their training: what they say about Gaussians, and what they never may."""

import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import (
    DonskerVaradhan,
    InfoNCE,
    JointCritic,
    Kind,
    SeparableCritic,
    apply,
    correlation_of,
    off_diagonal,
    scores,
    train_critic,
)


def gaussians(n: int, d: int, nats: float, seed: int) -> tuple[Tensor, Tensor]:
    rho = correlation_of(nats / math.log(2), d)
    x, noise = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize("kind", [JointCritic, SeparableCritic])
def test_the_matrix_of_scores_is_made_of_pairs(kind: type) -> None:
    torch.manual_seed(0)
    critic, x, y = kind(3, 2, hidden=(7, 5)), torch.randn(6, 3), torch.randn(4, 2)
    matrix = scores(critic, x, y, pairs_at_once=8)
    assert matrix.shape == (6, 4)
    for i, j in ((0, 0), (5, 3), (2, 1)):
        torch.testing.assert_close(matrix[i, j], critic(x[i : i + 1], y[j : j + 1])[0, 0].detach())


def test_off_diagonal() -> None:
    matrix = torch.arange(9.0).view(3, 3)
    assert off_diagonal(matrix).tolist() == [1, 2, 3, 5, 6, 7]
    with pytest.raises(ValueError, match="at least two"):
        off_diagonal(torch.zeros(1, 1))
    assert apply(InfoNCE(), matrix).marginal_pairs == 9
    assert apply(DonskerVaradhan(), matrix).marginal_pairs == 6


@pytest.mark.parametrize("bound", ["dv", "mine", "nwj", "infonce", "smile"])
def test_one_dimension_and_one_nat(bound: str) -> None:
    x, y = gaussians(3000, 1, 1.0, seed=0)
    torch.manual_seed(1)
    trained = train_critic(x, y, bound, JointCritic(1, 1, (32, 32)), 0, 64, 5e-3, 300)
    estimate, lower = trained.estimate, trained.lower
    truth = 1 / math.log(2)
    assert estimate.heldout_bits == pytest.approx(truth, abs=0.12)
    assert lower.kind is Kind.LOWER
    assert lower.heldout_bits < truth + 3 * (lower.standard_error_bits or 0)
    assert 0.005 < (estimate.standard_error_bits or 0) < 0.15
    assert estimate.marginal_pairs == (500 * 500 if bound == "infonce" else 500 * 499)
    assert estimate.certified
    assert lower.field("mi_xy") == "mi_xy_lower_bits"
    wanted = "mi_xy_lower_bits" if bound in ("nwj", "infonce") else "mi_xy_bits"
    assert estimate.field("mi_xy") == wanted


def test_a_training_is_a_function_of_its_seed() -> None:
    x, y = gaussians(200, 2, 1.0, seed=2)
    runs = [train_critic(x, y, seed=seed, max_steps=20, check_every=10) for seed in (0, 0, 1)]
    assert runs[0].estimate == runs[1].estimate != runs[2].estimate


def test_a_critic_that_knows_its_samples_by_heart_is_caught() -> None:
    """Nothing is shared; the train value is far over zero and the held-out lower bound is not."""
    x, y = gaussians(100, 10, 0.0, seed=3)
    trained = train_critic(x, y, "dv", max_steps=200, learning_rate=3e-3, check_every=200)
    assert trained.estimate.train_bits > 3
    assert trained.lower.heldout_bits < 0.1


class Scaled(torch.nn.Module):
    """50 where x and y are equal, 0 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return 50 * (x == y.T).float() + self.nothing


@pytest.mark.parametrize("bound", ["dv", "mine", "nwj"])
def test_a_freely_scaled_critic_is_uncertified_and_never_called_lower(bound: str) -> None:
    """Planted violation: of a million equally probable values with y = x, hardly two of 30 are equal."""
    x = torch.randint(0, 1_000_000, (100, 1), generator=torch.Generator().manual_seed(4)).double()
    truth = math.log2(1_000_000)
    trained = train_critic(x, x.clone(), bound, Scaled(), learning_rate=0.0, max_steps=1)
    for estimate in (trained.estimate, trained.lower):
        assert estimate.marginal_pairs == 30 * 29
        assert estimate.heldout_bits > 3 * truth > estimate.ceiling_bits
        assert not estimate.certified
        assert estimate.field("mi_xl") == "mi_xl_uncertified_bits"
    capped = train_critic(x, x.clone(), "infonce", Scaled(), learning_rate=0.0, max_steps=1).estimate
    assert capped.heldout_bits == pytest.approx(math.log2(30))
    assert capped.field("mi_xl") == "mi_xl_lower_bits"


class SeesImages(torch.nn.Module):
    """A critic that holds the map from x to y, and so needs x as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.log_width = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        assert x.shape[1:] == (2, 2)
        return -(x.sum((1, 2))[:, None] - y.T).square() * self.log_width.exp()


def test_a_critic_that_holds_a_network_gets_the_samples_as_they_are() -> None:
    draws = torch.Generator().manual_seed(7)
    x = torch.randn(2000, 2, 2, generator=draws) + 3
    y = x.sum((1, 2))[:, None] + 0.5 * torch.randn(2000, 1, generator=draws)
    truth = 0.5 * math.log2(1 + 4 / 0.25)
    options = {"seed": 0, "max_steps": 200, "learning_rate": 2e-2}
    aware = train_critic(x, y, "dv", SeesImages(), standardise=False, **options)
    # Its family lacks the marginal of y: a bound with a gap, near the truth where little noise is left.
    assert truth - 0.35 < aware.lower.heldout_bits < truth
    assert float(aware.critic.log_width.detach().exp()) == pytest.approx(1 / (2 * 0.25), rel=0.3)


def test_divergence_says_what_to_change() -> None:
    x, y = gaussians(100, 1, 1.0, seed=5)
    trained = train_critic(x, y, "nwj", max_steps=200, learning_rate=1e4)
    assert "lower learning_rate" in (trained.estimate.diverged or "")
    assert not trained.estimate.certified
    assert trained.estimate.field("mi").endswith("uncertified_bits")


def test_what_cannot_be_trained_is_refused() -> None:
    x, y = gaussians(100, 1, 1.0, seed=6)
    with pytest.raises(ValueError, match="unknown bound"):
        train_critic(x, y, "cpc")
    with pytest.raises(ValueError, match="same samples"):
        train_critic(x, y[1:])
    with pytest.raises(ValueError, match="not finite"):
        train_critic(x, y / 0)
