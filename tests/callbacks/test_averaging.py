"""The moving average against a scalar twin, and the module restored after it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ibsuite.callbacks.averaging import WeightAverage


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(module: nn.Sequential, seed: int) -> None:
    """Any change of parameters and of batch norm buffers."""
    torch.manual_seed(seed)
    module.train()
    module(5 * torch.randn(6, 3).to(module[0].weight) + seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_against_a_scalar_twin(decay: float) -> None:
    module, average = network().double(), WeightAverage(decay)
    average.restart(module)
    twin = {name: t.tolist() for name, t in snapshot(module).items() if t.is_floating_point()}
    assert "1.running_var" in twin

    def blend(mean: Any, new: Any, d: float) -> Any:
        if isinstance(mean, list):
            return [blend(a, b, d) for a, b in zip(mean, new, strict=True)]
        return mean + (1 - d) * (new - mean)

    for t in range(25):
        step(module, t)
        average.update(module)
        d = min(decay, (1 + t) / (10 + t))
        twin = {name: blend(twin[name], module.state_dict()[name].tolist(), d) for name in twin}
    with average.applied(module):
        for name, mean in twin.items():
            wanted = torch.tensor(mean, dtype=torch.float64)
            torch.testing.assert_close(module.state_dict()[name], wanted, rtol=1e-10, atol=1e-12)


def test_no_decay_is_the_last_step_and_a_constant_is_kept() -> None:
    module, average = network(), WeightAverage(0.0)
    average.restart(module)
    step(module, 1)
    average.update(module)
    own = snapshot(module)
    with average.applied(module):
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(tensor, own[name])
    constant = WeightAverage(0.9)
    constant.restart(module)
    for _ in range(50):
        constant.update(module)
    with constant.applied(module):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, own[name])


def test_applied_restores_to_the_bit_even_after_an_error() -> None:
    module, average = network(), WeightAverage(0.9)
    average.restart(module)
    for seed in range(4):
        step(module, seed)
        average.update(module)
    own = snapshot(module)
    with average.applied(module):
        assert not torch.equal(module[0].weight, own["0.weight"])
        assert not torch.equal(module[1].running_mean, own["1.running_mean"])
    assert all(torch.equal(tensor, own[name]) for name, tensor in module.state_dict().items())
    with pytest.raises(KeyError), average.applied(module):
        raise KeyError
    assert all(torch.equal(tensor, own[name]) for name, tensor in module.state_dict().items())


def test_restart_forgets_and_state_resumes() -> None:
    module, average, resumed = network(), WeightAverage(0.9), WeightAverage(0.9)
    average.restart(module)
    step(module, 0)
    average.update(module)
    state = average.state_dict()
    resumed.load_state_dict({"updates": state["updates"], "mean": [t.clone() for t in state["mean"]]})
    step(module, 1)
    average.update(module)
    resumed.update(module)
    module_state = snapshot(module)
    with average.applied(module):
        a = snapshot(module)
    with resumed.applied(module):
        b = snapshot(module)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["0.weight"], module_state["0.weight"])
    average.restart(module)
    assert average.updates == 0
    with average.applied(module):
        assert all(torch.equal(t, module_state[name]) for name, t in module.state_dict().items())


def test_average_does_not_share_memory_with_the_module() -> None:
    module, average = network(), WeightAverage(0.9)
    average.restart(module)
    before = [t.clone() for t in average.mean]
    step(module, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, average.mean, strict=True))
