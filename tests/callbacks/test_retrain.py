"""Every block begins at parameters that depend on the key alone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ibsuite.callbacks.retrain import Start
from ibsuite.interface import Refusal
from ibsuite.methods import CrossEntropy


def method() -> CrossEntropy:
    return CrossEntropy(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))


def fake_trainer(module: CrossEntropy) -> Any:
    """Takes note of the optimisers that the module gives when asked."""
    made: list[Any] = []

    def setup_optimizers(_: Any) -> None:
        made.append(module.configure_optimizers()["optimizer"])

    return SimpleNamespace(strategy=SimpleNamespace(setup_optimizers=setup_optimizers), made=made)


def train(module: CrossEntropy, seed: int) -> None:
    torch.manual_seed(seed)
    module.train()
    module(torch.randn(8, 3))
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p))
            p.grad = torch.randn_like(p)


def begin(start: Start, module: CrossEntropy, *key: int, old: Any = ()) -> dict[str, Tensor]:
    start.begin(fake_trainer(module), module, 10, key, old)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_fresh_start_depends_on_the_key_alone() -> None:
    module, start = method(), Start()
    first = begin(start, module, 5, 1)
    train(module, 0)
    assert not same(first, module.state_dict())
    second = begin(start, module, 5, 2)
    train(module, 1)
    assert same(begin(start, module, 5, 1), first)
    torch.manual_seed(77)
    assert same(begin(start, method(), 5, 2), second)  # another process, another past
    assert not torch.equal(first["network.0.weight"], second["network.0.weight"])
    assert not torch.equal(first["network.0.weight"], begin(start, module, 6, 1)["network.0.weight"])
    assert torch.equal(first["network.1.running_mean"], torch.zeros(4))
    assert torch.equal(first["network.1.running_var"], torch.ones(4))


@pytest.mark.parametrize("kind", ["fresh", "warm"])
def test_optimiser_schedule_and_gradients_are_new(kind: Any) -> None:
    module = method()
    trainer, start = fake_trainer(module), Start(kind)
    start.begin(trainer, module, 10, (0, 1))
    train(module, 0)
    trainer.made[0].step()
    start.begin(trainer, module, 25, (0, 2), start.snapshot(module))
    assert module.training_steps == 25
    assert trainer.made[0].state
    assert not trainer.made[1].state
    assert all(p.grad is None for p in module.parameters())
    held = {id(p) for group in trainer.made[1].param_groups for p in group["params"]}
    assert held == {id(p) for p in module.parameters()}


@pytest.mark.parametrize(("shrink", "perturb"), [(0.5, 0.5), (0.3, 0.9), (1.0, 0.0), (0.0, 1.0)])
def test_warm_start_is_shrunk_and_perturbed(shrink: float, perturb: float) -> None:
    module, start = method(), Start("warm", shrink, perturb)
    fresh = begin(Start(), method(), 5, 3)
    train(module, 4)
    old = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    warm = begin(start, module, 5, 3, old=start.snapshot(module))
    weights = ["network.0.weight", "network.2.weight"]
    for name in weights:
        torch.testing.assert_close(warm[name], perturb * fresh[name] + shrink * old[name])
    kept = warm.keys() - set(weights)
    assert "network.1.running_var" in kept
    for name in kept:  # biases, scales and batch statistics are taken over
        assert torch.equal(warm[name], old[name])


def test_the_first_block_has_nothing_to_warm_from() -> None:
    module = method()
    train(module, 4)  # whatever the module went through before the run
    assert same(begin(Start("warm"), module, 5, 1), begin(Start(), method(), 5, 1))


def test_global_generator_is_left_alone() -> None:
    module = method()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    begin(Start(), module, 0, 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("given", [(-0.1, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 1.1)])
def test_refusals(given: tuple[float, float]) -> None:
    with pytest.raises(Refusal):
        Start("warm", *given)
