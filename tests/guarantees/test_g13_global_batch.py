"""G13: log-mean-exp over the global batch: value and gradient agree on one and on several ranks."""

from typing import Any

import pytest
import torch
from ranks import batch_of, on_ranks, shares
from torch import Tensor

from ibsuite.information import NWJ, SMILE, DonskerVaradhan, JointCritic, Mine
from ibsuite.interface import Batch
from ibsuite.methods import LayerwiseIB
from ibsuite.methods.global_batch import GlobalBatch
from ibsuite.nn import MLP

BOUNDS = {"dv": DonskerVaradhan, "mine": Mine, "nwj": NWJ, "smile": SMILE}


def layerwise(**settings: Any) -> LayerwiseIB:
    torch.manual_seed(1)
    made = LayerwiseIB(MLP((4,), 3, hidden=(6,)), beta=0.5, noise_std=0.5, label_hidden=(5,), **settings)
    made.build_critics((4,))
    made.reset_parameters()
    return made


def climb(made: LayerwiseIB, batch: Batch, world: int, rank: int) -> tuple[float, list[Tensor]]:
    """Value and reduced gradients of the layer's objective and of the critics', on one rank."""
    everyone = GlobalBatch(batch, world, rank)
    out = made.parts[0](batch.x)
    objective = made._objective(out, batch.y, everyone, 0, 5)
    layer = everyone.reduce(torch.autograd.grad(objective, list(made.parts[0].parameters())))
    out = out.detach()
    noisy = made._noisy(out, everyone, 5, 0)
    of_critics = made._label_information(out, batch.y, everyone, 0)
    of_critics = of_critics + made._input_information(out, noisy, everyone, 0)
    critics = everyone.reduce(torch.autograd.grad(of_critics, list(made.critics[0].parameters())))
    return float(objective.detach()) + float(of_critics.detach()), [*layer, *critics]


def assert_agree(whole: tuple[float, list[Tensor]], part: tuple[float, list[Tensor]]) -> None:
    assert part[0] == pytest.approx(whole[0], abs=1e-5)
    for a, b in zip(whole[1], part[1], strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("penalty", ["critic", "gaussian", "kernel"])
@pytest.mark.parametrize("label_critic", ["free", "normalised"])
def test_g13_layer_by_layer_training(penalty: Any, label_critic: Any, world: int) -> None:
    settings = {"penalty": penalty, "label_critic": label_critic, "input_critic": JointCritic}
    batch = batch_of(14)  # 3 and 4 do not divide it
    whole = climb(layerwise(**settings), batch, 1, 0)
    models, parts = [layerwise(**settings) for _ in range(world)], shares(batch, world)
    for found in on_ranks(world, lambda rank: climb(models[rank], parts[rank], world, rank)):
        assert_agree(whole, found)


def test_g13_a_batch_too_small_to_be_shared() -> None:
    batch = batch_of(3)
    whole = climb(layerwise(), batch, 1, 0)
    models, parts = [layerwise() for _ in range(2)], shares(batch, 2)
    for found in on_ranks(2, lambda rank: climb(models[rank], parts[rank], 2, rank)):
        assert_agree(whole, found)


@pytest.mark.parametrize("name", BOUNDS)
def test_g13_bounds(name: str) -> None:
    draws = torch.Generator().manual_seed(0)
    joint, product = (2 * torch.randn(n, generator=draws).double() for n in (12, 60))

    def value(rank: int | None) -> tuple[float, Tensor, Tensor]:
        bound: Any = BOUNDS[name]()
        j = (joint if rank is None else joint[rank::2]).clone().requires_grad_()
        p = (product if rank is None else product[rank::2]).clone().requires_grad_()
        gather = None if rank is None else GlobalBatch(Batch(j, j, 2 / 12), 2, rank).gather
        objective = bound(j, p, gather).objective
        return float(objective.detach()), *torch.autograd.grad(objective, [j, p])

    whole, ranks = value(None), on_ranks(2, value)
    for rank, found in enumerate(ranks):
        assert found[0] == pytest.approx(whole[0], abs=1e-5)
        assert torch.allclose(found[1], whole[1][rank::2], atol=1e-5)
        assert torch.allclose(found[2], whole[2][rank::2], atol=1e-5)


def test_g13_planted_violation_a_mean_of_the_shares_values() -> None:
    batch = batch_of(14)
    whole = climb(layerwise(), batch, 1, 0)
    made = layerwise()
    found = [climb(made, part._replace(weight=1 / len(part.x)), 1, 0) for part in shares(batch, 2)]
    mean = (
        sum(value for value, _ in found) / 2,
        [(a + b) / 2 for a, b in zip(*(g for _, g in found), strict=True)],
    )
    with pytest.raises(AssertionError):
        assert_agree(whole, mean)
