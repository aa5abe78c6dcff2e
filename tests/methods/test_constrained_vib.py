"""A limit on the rate: the step of its multiplier, ranks that agree about it, and limits that are met."""

import math
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from ranks import batch_of, bottleneck, on_ranks, shares
from torch import nn

from ibsuite.data import Digits
from ibsuite.interface import Classifier, Refusal, StochasticRepresentation
from ibsuite.methods import ConstrainedVIB, DeepVIB
from ibsuite.methods.constrained_vib import dual_step
from ibsuite.nn import MLP, Bottleneck


def method(limit: float = 2.0, **settings: Any) -> ConstrainedVIB:
    return ConstrainedVIB(bottleneck(), rate_limit_bits=limit, **{"beta": 0.3, **settings})


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), StochasticRepresentation)


def test_loss_is_the_lagrangian_and_its_gradient_that_of_deep_vib() -> None:
    found, priced, batch = method(2.0), DeepVIB(bottleneck(), beta=0.3), batch_of(7)
    losses = []
    for each in (found, priced):
        torch.manual_seed(5)
        losses.append(each.training_step(batch, 0))
        losses[-1].backward()
    assert float(losses[0].detach()) == pytest.approx(
        float(losses[1].detach()) - 0.3 * 2.0 * math.log(2), rel=1e-5
    )
    for one, two in zip(found.parameters(), priced.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_multiplier_moves_by_the_logarithm_of_rate_over_limit() -> None:
    found, batch = method(2.0, dual_rate=0.05), batch_of(7)
    with torch.no_grad():
        rate = found.network.rate_nats(found.network.encode(batch.x), torch.zeros(1, 7, 3)).mean()
    found.training_step(batch, 0)
    moved = math.log(found.beta / 0.3)
    assert moved == pytest.approx(0.05 * math.log(float(rate) / (2 * math.log(2))), rel=1e-5)
    assert dual_step(0.3, 1.7, 1.7, 0.05) == 0.3
    assert dual_step(0.3, 2.0, 1.7, 0.05) > 0.3 > dual_step(0.3, 1.0, 1.7, 0.05) > 0
    assert dual_step(0.3, 0.0, 1.7, 0.05) > 0


def test_the_step_ascends_in_the_dual_function_and_ends_in_its_maximum() -> None:
    """min_r of e^-r + beta (r - c) in closed form: r = -log beta; the dual function is largest at e^-c."""
    c = 1.3

    def dual(beta: float) -> float:
        return beta + beta * (-math.log(beta) - c)

    for beta in (0.05, 0.2, 0.5, 0.9):
        slope = (dual(beta + 1e-6) - dual(beta - 1e-6)) / 2e-6
        assert slope == pytest.approx(-math.log(beta) - c, abs=1e-4)  # r - c: what the step goes by
        step = dual_step(beta, -math.log(beta), c, 0.01)
        assert (step - beta) * slope > 0
        assert dual(step) > dual(beta)
    beta = 0.9
    for _ in range(2000):
        beta = dual_step(beta, -math.log(beta), c, 0.05)
    assert beta == pytest.approx(math.exp(-c), rel=1e-6)


@pytest.mark.parametrize(("n", "world"), [(7, 2), (9, 3), (3, 2)])
def test_ranks_agree_about_the_multiplier(n: int, world: int) -> None:
    whole, parts = method(), shares(batch_of(n), world)
    whole.training_step(batch_of(n), 0)
    methods = [method() for _ in range(world)]

    def train(rank: int) -> float:
        methods[rank].training_step(parts[rank], 0)
        return methods[rank].beta

    reached = on_ranks(world, train)
    assert len(set(reached)) == 1
    assert reached[0] == pytest.approx(whole.beta, rel=1e-6)


def test_multiplier_is_saved_outside_the_model_and_begins_anew_with_a_training() -> None:
    found, other, checkpoint = method(), method(), {}
    found.training_step(batch_of(7), 0)
    found.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert other.beta == found.beta != 0.3
    assert found.state_dict().keys() == DeepVIB(bottleneck()).state_dict().keys()
    found.reset_parameters()
    assert found.beta == 0.3


def test_what_cannot_be_honoured_is_refused() -> None:
    for settings in ({"limit": 0.0}, {"limit": math.nan}, {"dual_rate": 0.0}, {"beta": 0.0}):
        with pytest.raises(Refusal, match=r"model\.rate_limit_bits, model\.dual_rate and model\.beta"):
            method(**settings)
    with pytest.raises(Refusal, match=r"ConstrainedVIB needs a network with a stochastic bottleneck"):
        ConstrainedVIB(nn.Linear(2, 2))


@pytest.mark.parametrize("limit", [2.0, 6.0])
def test_limits_are_met(limit: float) -> None:
    """Within 10 % after a short training; and less information is let through where less is allowed."""
    digits = Digits(num_labels=300, batch_size=50)
    torch.manual_seed(0)
    network = Bottleneck((1, 8, 8), 10, 8, lambda shape, size: MLP(shape, size, (32,)))
    found = ConstrainedVIB(network, lambda p: torch.optim.Adam(p, lr=0.01), limit, dual_rate=0.03, beta=0.01)
    L.Trainer(
        accelerator="cpu", max_epochs=100, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(found.train(), datamodule=digits)  # fmt: skip
    x, y = digits.inputs(torch.arange(300), torch.device("cpu")), digits.labels
    reading = found.eval().read_bottleneck(x, y)
    assert float(reading.rate_bits.mean()) == pytest.approx(limit, rel=0.1)
    assert math.log2(10) - float(reading.distortion_bits.mean()) < limit
    assert found.beta > 0.01
