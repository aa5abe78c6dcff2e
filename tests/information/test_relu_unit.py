"""The exact error of a compressed ReLU unit against Monte Carlo, brute force and its expansion."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ibsuite.information import prune_least_important, relu_distortion


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(w: Tensor, w_hat: Tensor, importance: Tensor) -> Tensor:
    """Equation 5's: the importance of this unit is S_X / 2."""
    return 0.5 * (importance * (w - w_hat).square()).sum(-1)


def test_the_closed_form_against_monte_carlo() -> None:
    importance = torch.tensor([2.0, 0.5, 1.0]).double()
    w, w_hat = normal(0, 3), normal(1, 4, 3)
    x = importance.sqrt() * normal(2, 400_000, 3)
    errors = ((x @ w).relu()[:, None] - (x @ w_hat.T).relu()).square()
    exact = relu_distortion(w, w_hat, importance)
    tolerance = 4 * errors.std(0) / math.sqrt(len(x))
    assert bool(((exact - errors.mean(0)).abs() < tolerance).all())
    wrong = quadratic(w, w_hat, importance)
    assert bool(((wrong - errors.mean(0)).abs() > 2 * tolerance).all())  # the test can fail


def test_known_angles_and_vanishing_vectors() -> None:
    importance = torch.ones(2).double()
    w = torch.tensor([2.0, 0.0]).double()
    others = torch.tensor([[2.0, 0.0], [0.0, 0.0], [3.0, 0.0], [-2.0, 0.0], [0.0, 2.0]]).double()
    # Opposite units are never active together; orthogonal ones have E f g = a b / (2 pi).
    expected = torch.tensor([0, 2, 0.5, 4, 4 - 4 / math.pi]).double()
    torch.testing.assert_close(relu_distortion(w, others, importance), expected)
    assert float(relu_distortion(0 * w, w, importance)) == 2.0


def test_the_importance_is_half_of_the_input_covariance() -> None:
    importance = torch.tensor([2.0, 0.5, 1.0]).double()
    w, change = normal(3, 3), normal(4, 3)
    for size in (1e-2, 1e-4, 1e-6):
        w_hat = w + size * change
        ratio = relu_distortion(w, w_hat, importance) / quadratic(w, w_hat, importance)
        assert float(ratio) == pytest.approx(1.0, abs=size)
    # Equation 5 itself: the mean of gradients times gradients, each sample with its own copy of the weights.
    copies = w.repeat(200_000, 1).requires_grad_()
    x = importance.sqrt() * normal(5, 200_000, 3)
    (gradients,) = torch.autograd.grad((x * copies).sum(1).relu().sum(), copies)
    matrix = gradients.T @ gradients / len(x)
    torch.testing.assert_close(matrix, importance.diag() / 2, rtol=0, atol=0.015)


def test_the_quadratic_never_promises_too_little() -> None:
    importance = normal(6, 4).square()
    w, w_hat = normal(7, 500, 4), normal(8, 500, 4)
    exact, promised = relu_distortion(w, w_hat, importance), quadratic(w, w_hat, importance)
    assert bool((exact <= promised).all())
    assert float((promised - exact).max()) > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_least_important_weights_are_the_best_to_prune(seed: int) -> None:
    m, importance = 11, normal(seed, 11).square()
    w = normal(seed + 10, m)
    masks = torch.tensor(list(itertools.product([0, 1], repeat=m)))
    errors = relu_distortion(w, masks * w, importance)
    by_magnitude = 0
    for kept in range(m + 1):
        these = masks.sum(1) == kept
        chosen = prune_least_important(w, importance, kept)
        assert int((chosen != 0).sum()) == kept
        error = relu_distortion(w, chosen, importance)
        assert float(error) == pytest.approx(float(errors[these].min()), rel=1e-12, abs=1e-15)
        plain = prune_least_important(w, torch.ones(m), kept)
        assert set(plain.abs()[plain != 0].tolist()) == set(w.abs().sort().values[m - kept :].tolist())
        by_magnitude += bool(relu_distortion(w, plain, importance) > 1.001 * error)
    assert by_magnitude > 3  # plain magnitude is another choice, and a worse one


def two_centroids(w: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """Every assignment to two centroids with the centroids that are best for the quadratic, and its value."""
    found = []
    for bits in itertools.product([False, True], repeat=len(w)):
        side = torch.tensor(bits)
        w_hat = w.clone()
        for part in (side, ~side):
            if bool(part.any()):
                w_hat[part] = (importance * w)[part].sum() / importance[part].sum()
        found.append(w_hat)
    every = torch.stack(found)
    return every, quadratic(w, every, importance)


def test_quantisation_is_not_optimal_for_the_exact_error() -> None:
    w, importance = torch.tensor([1.0, 4.0, -1.0, -4.0]).double(), torch.ones(4).double()
    every, values = two_centroids(w, importance)
    best = every[values.argmin()]
    assert best.tolist() == [2.5, 2.5, -2.5, -2.5]
    assert float(importance @ (best * (w - best))) == 0.0  # golden rule 1 holds, and still:
    before, after = relu_distortion(w, best, importance), relu_distortion(w, 1.02 * best, importance)
    assert float(before) == pytest.approx(4.0259, abs=1e-4)
    assert float(after) == pytest.approx(4.0214, abs=1e-4)
    assert float(quadratic(w, 1.02 * best, importance)) > float(values.min())


def test_the_best_scale_of_a_compressed_unit() -> None:
    # Golden rule 1 means |w_hat| = |w| cos t; the exact error is least at 1 + (tan t - t) / pi times it.
    w, importance = normal(20, 6), normal(21, 6).square()
    w_hat = prune_least_important(w, importance, 2)
    t = math.acos(math.sqrt(float(importance @ w_hat.square()) / float(importance @ w.square())))
    scales = torch.linspace(0.9, 2, 110_001, dtype=torch.float64)
    errors = relu_distortion(w, scales[:, None] * w_hat, importance)
    best = 1 + (math.tan(t) - t) / math.pi
    assert best > 1.001
    assert float(scales[errors.argmin()]) == pytest.approx(best, abs=2e-5)


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="importance"):
        relu_distortion(torch.ones(3), torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="importance"):
        prune_least_important(torch.ones(2), torch.tensor([1.0, -1.0]), 1)
    with pytest.raises(ValueError, match="kept"):
        prune_least_important(torch.ones(2), torch.ones(2), 3)
