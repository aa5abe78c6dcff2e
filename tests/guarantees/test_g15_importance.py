"""G15: weight importance does not depend on the batch size, and probe noise is keyed by sample."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small_classifiers import furthest
from torch import Tensor

import ibsuite.compression.curvature
import ibsuite.compression.moments
from ibsuite.compression import Moments, weight_moments
from ibsuite.compression.tape import LayerPass, PowerSums, power_sums
from ibsuite.data import Digits
from ibsuite.methods import CrossEntropy
from ibsuite.nn import ConvNet

ROWS = torch.arange(203).flip(0)[:103]


@pytest.fixture(scope="module")
def digits() -> Digits:
    data = Digits(num_labels=300)
    data.setup()
    return data


@pytest.fixture(scope="module")
def method(digits: Digits) -> CrossEntropy:
    """A convolutional network with batch norm and dropout, trained a little."""
    torch.manual_seed(0)
    method = CrossEntropy(ConvNet((1, 8, 8), 10, widths=(6, 12), dropout=0.2))
    x, y = digits.inputs(torch.arange(300), torch.device("cpu")), digits.labels
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(method(x), y).backward()
        optimiser.step()
    assert float((method(x).argmax(1) == y).float().mean()) > 0.8
    return method


def check(measure: Callable[[int, Tensor], Moments], orders: tuple[Tensor, ...]) -> None:
    """Every tensor agrees to 1e-5 of its norm, whatever the batches."""
    reference = measure(100, orders[0])
    for batch_size in (1, 10):
        for rows in orders:
            assert furthest(measure(batch_size, rows), reference) < 1e-5


def measure(method: CrossEntropy, data: Digits, **settings: Any) -> Callable[[int, Tensor], Moments]:
    return lambda batch_size, rows: weight_moments(method, data, rows, 1.5, batch_size, **settings)


PROBED = {"moments": ("curvature", "curvature_square")}


@pytest.mark.parametrize(
    "settings",
    [{}, {"curvature": "propagation", **PROBED}, {"curvature": "hutchinson", **PROBED}],
    ids=["exact", "propagation", "hutchinson"],
)
def test_batch_size_and_order_do_not_matter(
    method: CrossEntropy, digits: Digits, settings: dict[str, Any]
) -> None:
    rows = ROWS[:21] if settings.get("curvature") == "hutchinson" else ROWS  # slow
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    check(measure(method, digits, **settings), (rows, shuffled))


def of_the_mean(
    used: LayerPass, estimates: list[list[tuple[float, Tensor]]], square: bool
) -> Iterator[tuple[str, PowerSums]]:
    """As a plain backward pass gives it: the square of the mean gradient of a batch."""
    for kind, sums in power_sums(used, estimates, square):
        gradient = torch.zeros(sums.first.shape)
        for _, factor in estimates[0]:
            before = factor.flatten(2) if factor.ndim > 2 else factor[:, :, None]
            if kind == "bias":
                gradient += before.sum(2).mean(0).square()
            elif used.inputs.ndim == 2:
                gradient += (factor.T @ used.inputs / len(factor)).square()
            else:
                gradient += torch.nn.grad.conv2d_weight(
                    used.inputs, used.layer.weight.shape, factor / len(factor), padding=used.layer.padding
                ).square()
        yield kind, PowerSums(gradient.double() * len(used.inputs), sums.total_square, sums.squares)


def test_planted_violation_squares_of_mean_gradients_are_found(
    method: CrossEntropy, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ibsuite.compression.moments, "power_sums", of_the_mean)
    careless = measure(method, digits, moments=("gradient_square",))
    right = weight_moments(method, digits, ROWS, 1.5, 1, ("gradient_square",))
    monkeypatch.undo()
    assert furthest(careless(1, ROWS), right) < 1e-5  # with single samples there is nothing wrong
    monkeypatch.setattr(ibsuite.compression.moments, "power_sums", of_the_mean)
    with pytest.raises(AssertionError):
        check(careless, (ROWS,))


def test_planted_violation_noise_of_places_in_a_batch_is_found(
    method: CrossEntropy, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ibsuite.compression.curvature.random_signs

    def by_place(rows: Tensor, count: int, seed: int, probe: int) -> Tensor:
        return honest(torch.arange(len(rows)), count, seed, probe)

    monkeypatch.setattr(ibsuite.compression.curvature, "random_signs", by_place)
    with pytest.raises(AssertionError):
        check(measure(method, digits, curvature="propagation", **PROBED), (ROWS,))


def test_planted_violation_batch_statistics_are_found(
    method: CrossEntropy, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(method.network), "eval", lambda self: self.train())
    monkeypatch.setattr(torch.nn.BatchNorm2d, "eval", lambda self: self.train())
    monkeypatch.setattr(CrossEntropy, "eval", lambda self: self.train())
    with pytest.raises((AssertionError, ValueError)):
        check(measure(method, digits, moments=("gradient_square",)), (ROWS,))
