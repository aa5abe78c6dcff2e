import pytest
import torch
from torch import Tensor, nn

from ibsuite.nn import MLP, assert_no_shared_storage, named_tensors, pristine_state, reset_network

torch.set_num_threads(1)


class Homemade(nn.Module):
    """A user's module: a bare parameter, a saved and an unsaved buffer that nobody resets, and one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("average", torch.zeros(3), persistent=False)
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        self.average.lerp_(x.mean(0), 0.5)
        return self.layer(self.scale * (x - self.average))


def train(network: nn.Module, x: Tensor) -> None:
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        network(x).logsumexp(1).sum().backward()
        optimiser.step()


def test_what_nobody_resets_is_restored():
    torch.manual_seed(0)
    network = Homemade()
    pristine = pristine_state(network)
    train(network, torch.randn(5, 3))
    changed = [name for name, tensor in named_tensors(network).items() if not tensor.equal(pristine[name])]
    assert {"scale", "seen", "average", "layer.weight"} <= set(changed)
    reset_network(network, pristine)
    for name in ("scale", "seen", "average"):
        assert torch.equal(named_tensors(network)[name], pristine[name])
    assert not network.layer.weight.equal(pristine["layer.weight"])  # drawn anew
    assert all(parameter.grad is None for parameter in network.parameters())


def test_reset_forgets_the_training():
    torch.manual_seed(0)
    network = Homemade()
    pristine = pristine_state(network)
    states = []
    for steps_on in (torch.randn(5, 3), torch.randn(2, 3)):
        train(network, steps_on)
        torch.manual_seed(7)
        reset_network(network, pristine)
        states.append(pristine_state(network))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_after_a_reset_leaves_pristine_alone():
    network = Homemade()
    pristine = pristine_state(network)
    before = {name: tensor.clone() for name, tensor in pristine.items()}
    reset_network(network, pristine)
    assert_no_shared_storage(named_tensors(network), pristine)
    train(network, torch.randn(5, 3))
    assert all(torch.equal(before[name], pristine[name]) for name in before)


def test_the_rule_of_the_parent_wins():
    class Ones(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

        def reset_parameters(self) -> None:
            nn.init.ones_(self.inner[0].weight)

    network = Ones()
    pristine = pristine_state(network)
    reset_network(network, pristine)
    assert network.inner[0].weight.eq(1).all()
    assert not network.inner[1].weight.equal(pristine["inner.1.weight"])


def test_an_uncopied_state_is_refused():
    network = MLP((4,), 2, hidden=(3,))
    with pytest.raises(ValueError, match=r"'layers\.1\.weight' and 'layers\.1\.weight' share memory"):
        reset_network(network, network.state_dict())


def test_a_copied_state_dict_will_do_without_unsaved_buffers():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    reset_network(network, {name: tensor.clone() for name, tensor in network.state_dict().items()})


def test_shared_weights_are_no_stranger():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    reset_network(network, pristine_state(network))
    reset_network(network, {name: tensor.clone() for name, tensor in network.state_dict().items()})
    assert network[1].weight is network[0].weight


@pytest.mark.parametrize("loss", ["average", "late"])
def test_a_tensor_without_a_pristine_value_is_refused(loss: str):
    network = Homemade()
    pristine = pristine_state(network)
    if loss == "late":
        network.register_buffer("late", torch.ones(1))
    else:
        del pristine[loss]
    with pytest.raises(ValueError, match=loss):
        reset_network(network, pristine)


def test_a_changed_shape_is_refused_before_anything_is_written():
    network = MLP((4,), 2, hidden=(3,))
    pristine = pristine_state(network)
    pristine["layers.4.bias"] = torch.zeros(1)
    before = pristine_state(network)
    with pytest.raises(ValueError, match=r"layers\.4\.bias"):
        reset_network(network, pristine)
    assert all(torch.equal(before[name], tensor) for name, tensor in named_tensors(network).items())


def test_views_of_one_memory_are_found():
    whole = torch.zeros(4)
    nothing = torch.empty(0)
    assert_no_shared_storage({"a": whole, "empty": nothing}, {"b": whole.clone(), "empty": nothing})
    with pytest.raises(ValueError, match="'a' and 'b'"):
        assert_no_shared_storage({"a": whole[:2]}, {"b": whole[2:]})
