"""G14: a linear layer trained on Gaussian samples, with noise in both terms, lies on the closed-form curve.

I(Y; L + eps) - beta I(X; L + eps) is climbed by the gradients of the estimator that also stands in the loss
of layer-by-layer training, from samples. Their covariance is exactly that of the distribution, so that what
is tested is the training and not chance.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ibsuite.information import gaussian_bottleneck, gaussian_information_nats
from ibsuite.units import nats_to_bits

BETAS = (0.1, 0.2, 0.4, 0.7, 0.95)
CORRELATIONS = torch.tensor([0.95, 0.8, 0.5, 0.2], dtype=torch.float64)
SAMPLES, STEPS = 200, 500
Points = list[tuple[float, float]]


def gaussians() -> tuple[Tensor, Tensor, Tensor]:
    """Samples of X and Y, (n, 4) each, mixed so that no coordinate is a canonical one; their covariance."""
    draws = torch.Generator().manual_seed(0)
    mix_x, mix_y = torch.randn(2, 4, 4, generator=draws, dtype=torch.float64)
    white = torch.randn(SAMPLES, 8, generator=draws, dtype=torch.float64)
    white = white - white.mean(0)
    root = torch.linalg.cholesky(white.T @ white / (SAMPLES - 1))
    u, noise = torch.linalg.solve_triangular(root, white.T, upper=False).T.split(4, 1)
    v = CORRELATIONS * u + (1 - CORRELATIONS**2).sqrt() * noise
    across = mix_x @ torch.diag(CORRELATIONS) @ mix_y.T
    above, below = (mix_x @ mix_x.T, across), (across.T, mix_y @ mix_y.T)
    return u @ mix_x.T, v @ mix_y.T, torch.cat([torch.cat(above, 1), torch.cat(below, 1)])


def train(x: Tensor, y: Tensor, beta: float, noise_in_both: bool) -> tuple[float, float]:
    """I(X; L + eps) and I(Y; L + eps), bits, of L = W x after training W; eps has variance 1."""
    w = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    rest = x - y @ torch.linalg.lstsq(y, x).solution  # of x, given y
    optimizer = torch.optim.Adam([w], 0.1)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def terms(noise_std: float) -> tuple[Tensor, Tensor]:
        of_x = gaussian_information_nats(x @ w.T, noise_std)
        return of_x, of_x - gaussian_information_nats(rest @ w.T, noise_std)

    for _ in range(STEPS):
        of_x, of_y = terms(1.0)
        if not noise_in_both:
            of_y = terms(1e-6)[1]
        optimizer.zero_grad()
        (beta * of_x - of_y).backward()
        optimizer.step()
        decay.step()
    of_x, of_y = (nats_to_bits(float(each.detach())) for each in terms(1.0))
    return of_x, of_y


@pytest.fixture(scope="module")
def curves() -> dict[bool, tuple[Points, Points]]:
    """Trained points with noise in both terms or in one, and those of the closed form."""
    x, y, covariance = gaussians()
    closed = [tuple(gaussian_bottleneck(covariance, 4, beta)) for beta in BETAS]
    return {both: ([train(x, y, beta, both) for beta in BETAS], closed) for both in (True, False)}


def on_the_curve(points: Points, closed: Points) -> bool:
    """Whether every I lies within 5 % (of a bit, where it is less than one) of the closed form."""
    pairs = zip(sum(points, ()), sum(closed, ()), strict=True)
    return all(abs(found - wanted) < 0.05 * max(1.0, wanted) for found, wanted in pairs)


def test_g14_the_information_of_a_trained_layer_lies_on_the_closed_form_curve(curves) -> None:
    points, closed = curves[True]
    assert on_the_curve(points, closed)
    assert closed[0][0] > 5  # and that is more than nothing
    assert closed[-1] == (0.0, 0.0)


def test_g14_the_information_about_x_does_not_increase_with_beta(curves) -> None:
    rates = [rate for rate, _ in curves[True][0]]
    assert all(later <= earlier + 1e-3 for earlier, later in pairwise(rates))
    assert rates[0] > rates[-1] + 5


def test_g14_planted_violation_noise_in_one_term_only(curves) -> None:
    """I(Y; L) is the same at every scale of L: nothing holds I(X; L + eps), which is left where it drifts."""
    points, closed = curves[False]
    assert not on_the_curve(points, closed)
    # How far each point drifts is a matter of rounding, and differs between machines.
    assert max(abs(rate - wanted) for (rate, _), (wanted, _) in zip(points, closed, strict=True)) > 1
