"""Attacks along the gradient: closed forms on a linear classifier, and balls that are never left."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ibsuite.attacks import fgsm, perturbation_norm, pgd
from ibsuite.attacks.gradient import NORMS, Norm

SHAPE = (1, 3, 4)


def linear(seed: int = 0) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Weights of a softmax classifier of three classes, and its logits."""
    weight = torch.randn(3, 12, generator=torch.Generator().manual_seed(seed))
    return weight, lambda x: x.flatten(1) @ weight.T


def curved() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3))


def images(n: int = 40, low: float = 0.0, high: float = 1.0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(n, *SHAPE, generator=draws), torch.arange(n) % 3


def gradient(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """W' (p - e_y) of a softmax classifier."""
    p = (x.flatten(1) @ weight.T).softmax(1)
    p[torch.arange(len(y)), y] -= 1
    return (p @ weight).view_as(x)


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.2])
def test_one_step_on_a_linear_classifier_has_its_closed_form(epsilon: float) -> None:
    weight, logits = linear()
    x, y = images(low=0.25, high=0.75)  # the range is out of reach
    g = gradient(weight, x, y)
    torch.testing.assert_close(fgsm(logits, x, y, epsilon), x + epsilon * g.sign())
    length = g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(fgsm(logits, x, y, epsilon, "l2"), x + epsilon * g / length)


def test_the_gradient_is_that_of_finite_differences() -> None:
    network, (x, y) = curved().double(), images(3)
    x, step = x.double(), 1e-6
    loss = nn.CrossEntropyLoss()
    found = (fgsm(network, x, y, 1e-4, "l2") - x).clamp(-1, 1)
    for i in range(3):
        slopes = torch.zeros(12, dtype=torch.float64)
        for j in range(12):
            moved = [x[i : i + 1].clone() for _ in range(2)]
            moved[0].view(-1)[j] += step
            moved[1].view(-1)[j] -= step
            up, down = (float(loss(network(m), y[i : i + 1]).detach()) for m in moved)
            slopes[j] = (up - down) / (2 * step)
        inside = (x[i].flatten() > 1e-3) & (x[i].flatten() < 1 - 1e-3)
        expected = 1e-4 * slopes / slopes.norm()
        torch.testing.assert_close(found[i].flatten()[inside], expected[inside], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("network", [linear()[1], curved()])
def test_a_single_full_step_is_the_fast_gradient_method(norm: Norm, network: Callable) -> None:
    x, y = images()
    once = pgd(network, x, y, 0.1, norm, steps=1, step_size=0.1)
    torch.testing.assert_close(once, fgsm(network, x, y, 0.1, norm), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.3, 2.0])
@pytest.mark.parametrize("step_size", [None, 5.0])
def test_neither_the_ball_nor_the_range_is_left(norm: Norm, epsilon: float, step_size: float | None) -> None:
    network, (x, y) = curved(), images()
    for found in (pgd(network, x, y, epsilon, norm, 7, step_size), fgsm(network, x, y, epsilon, norm)):
        assert float(perturbation_norm(found - x, norm).max()) <= epsilon + 1e-6
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert epsilon == 0 or not torch.equal(found, x)


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_mislead_at_least_as_much(norm: Norm) -> None:
    network, (x, y) = curved(), images()
    loss = nn.CrossEntropyLoss(reduction="none")
    with torch.no_grad():
        few, many = (loss(network(pgd(network, x, y, 0.3, norm, n, 0.05)), y) for n in (4, 12))
        assert (many >= few - 1e-6).all()
        assert (many > loss(network(x), y)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_errors_of_two_classes_do_not_fall_with_epsilon_and_reach_all(norm: Norm, attack: Callable) -> None:
    """With two classes the direction is the same everywhere: w is all there is."""
    w = torch.randn(12, generator=torch.Generator().manual_seed(2))
    w -= w.mean()

    def logits(x: Tensor) -> Tensor:
        score = (x.flatten(1) - 0.5) @ w
        return torch.stack([score, -score], 1)

    x, _ = images(200)
    y = logits(x).argmax(1)
    errors = [
        float((logits(attack(logits, x, y, e, norm)).argmax(1) != y).double().mean())
        for e in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 4.0)
    ]
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[-1] > 0.95
    if norm == "linf":  # wrong exactly where the margin is less than epsilon |w|_1, as long as nothing is cut
        x = 0.4 + 0.2 * x
        y, margin = logits(x).argmax(1), logits(x).amax(1)
        wrong = logits(attack(logits, x, y, 0.1, norm)).argmax(1) != y
        assert torch.equal(wrong, margin < 0.1 * w.abs().sum())


def test_a_sure_network_still_has_a_direction() -> None:
    """Gradients of 1e-25, whose squares are nothing in single precision."""
    weight, _ = linear()

    def logits(x: Tensor) -> Tensor:
        return x.flatten(1) @ weight.T + torch.tensor([57.0, 0.0, 0.0])

    x, _ = images(low=0.4, high=0.6)
    moved = fgsm(logits, x, torch.zeros(40, dtype=torch.int64), 0.1, "l2")
    torch.testing.assert_close(perturbation_norm(moved - x, "l2"), torch.full((40,), 0.1), rtol=1e-4, atol=0)


def test_norms() -> None:
    change = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
    assert [perturbation_norm(change, n).tolist() for n in ("linf", "l2", "l0")] == [[4, 0], [5, 0], [2, 0]]


def test_what_makes_no_sense_is_refused() -> None:
    (x, y), (_, logits) = images(), linear()
    with pytest.raises(ValueError, match="must be one of linf, l2"):
        fgsm(logits, x, y, 0.1, "l1")
    with pytest.raises(ValueError, match="epsilon must not be negative"):
        pgd(logits, x, y, -0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        pgd(logits, 255 * x, y, 0.1)
    with pytest.raises(ValueError, match="1 step or more"):
        pgd(logits, x, y, 0.1, steps=0)
