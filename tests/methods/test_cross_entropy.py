"""Cross entropy: shares of a batch add up, and what is decayed, scheduled and reset."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.data.loader import share
from ibsuite.interface import Batch, Classifier
from ibsuite.methods import CrossEntropy
from ibsuite.methods.schedules import learning_rate_factor


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3))


def data(n: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(n)
    return torch.randn(n, 4, generator=draws), torch.randint(3, (n,), generator=draws)


def gradients(method: CrossEntropy, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(method.network.parameters())))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (7, 3), (8, 4), (13, 4), (3, 2), (1, 4)])
def test_mean_over_ranks_is_the_global_mean(count: int, world: int, smoothing: float) -> None:
    """Loss and gradient, with shares of unequal size and batches too small to share."""
    torch.manual_seed(0)
    method = CrossEntropy(network(), label_smoothing=smoothing).double()
    x, y = data(count)
    x = x.double()
    expected = F.cross_entropy(method.network(x), y, label_smoothing=smoothing)  # torch's mean
    losses = []
    for rank in range(world):
        part, weight = share(count, rank, world)
        losses.append(method.training_step(Batch(x[part], y[part], weight), 0))
    mean = torch.stack(losses).mean()
    torch.testing.assert_close(mean, expected)
    for found, wanted in zip(gradients(method, mean), gradients(method, expected), strict=True):
        torch.testing.assert_close(found, wanted)


def test_loss_is_in_nats_of_true_labels() -> None:
    method = CrossEntropy(nn.Identity())
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    loss = method.training_step(Batch(logits, torch.tensor([0, 1]), 1 / 2), 0)
    assert float(loss) == pytest.approx(1.0397, abs=1e-4)  # (ln 4 + ln 2) / 2


def test_only_matrices_are_decayed_and_every_parameter_is_optimised_once() -> None:
    method = CrossEntropy(network(), lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5))
    method.network[3].bias.requires_grad_(False)
    method.training_steps = 10
    optimizer = method.configure_optimizers()["optimizer"]
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    names = {name: decay.get(id(p)) for name, p in method.network.named_parameters()}
    assert names == {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": 0.5,
        "3.bias": None,
    }


def test_no_parameters_but_one_dimensional_ones() -> None:
    method = CrossEntropy(nn.LayerNorm(3))
    method.training_steps = 1
    assert len(method.configure_optimizers()["optimizer"].param_groups) == 1


def test_optimiser_is_fresh_and_the_schedule_follows_the_present_training() -> None:
    method = CrossEntropy(network(), lambda p: torch.optim.Adam(p, lr=0.2), warmup=0.2, decay="linear")
    method.training_steps = 20

    def rates(configured: dict[str, Any]) -> list[float]:
        optimizer, found = configured["optimizer"], []
        for _ in range(5):
            found.append(optimizer.param_groups[0]["lr"])
            method.training_step(Batch(*data(4), 1 / 4), 0).backward()
            optimizer.step()
            configured["lr_scheduler"]["scheduler"].step()
        return found

    def wanted(steps: int) -> list[float]:
        return [0.2 * learning_rate_factor(i / steps, 0.2, "linear") for i in range(5)]

    first = method.configure_optimizers()
    assert first["lr_scheduler"]["interval"] == "step"
    assert rates(first) == pytest.approx(wanted(20))
    assert first["optimizer"].state
    method.training_steps = 40
    second = method.configure_optimizers()
    assert second["optimizer"] is not first["optimizer"]
    assert not second["optimizer"].state
    assert rates(second) == pytest.approx(wanted(40))


def test_resetting_forgets_training_and_follows_the_generator() -> None:
    method = CrossEntropy(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    assert isinstance(method, Classifier)

    def drawn(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        method.reset_parameters()
        return [tensor.clone() for tensor in method.state_dict().values()]

    before = drawn(1)
    x, y = data(6)
    method.training_step(Batch(x, y, 1.0), 0).backward()
    with torch.no_grad():
        for p in method.parameters():
            p.sub_(p.grad)
    assert any(not torch.equal(a, b) for a, b in zip(before, method.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, drawn(1), strict=True))
    assert not torch.equal(before[0], drawn(2)[0])
    assert all(p.grad is None for p in method.parameters())


def test_logits_are_the_networks() -> None:
    method, (x, _) = CrossEntropy(network()), data(5)
    torch.testing.assert_close(method.logits(x), method.network(x))
    torch.testing.assert_close(method(x), method.network(x))
    assert not any("pristine" in name for name in method.state_dict())
