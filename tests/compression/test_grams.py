"""Gram matrices of inputs against what layers do with them."""

import pytest
import torch
from torch import Tensor, nn

from ibsuite.compression import grams, layer_grams
from ibsuite.interface import Refusal


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(change: Tensor, gram: Tensor) -> Tensor:
    """tr(dW G dW')."""
    return torch.trace(change @ gram @ change.T)


class Inputs:
    """Labelled inputs without labels."""

    num_classes = 2

    def __init__(self, x: Tensor) -> None:
        self.x, self.num_labels, self.labels = x, len(x), torch.zeros(len(x), dtype=torch.int64)

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        return self.x[rows].to(device)


class Method(nn.Module):
    training_steps = None

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers).double()

    def logits(self, x: Tensor) -> Tensor:
        return self.network(x)

    def reset_parameters(self) -> None:
        pass


def test_gram_of_a_linear_layer_gives_the_error_of_its_outputs() -> None:
    x = normal(50, 6)
    method = Method(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    rows = torch.arange(3, 47)
    found = layer_grams(method, Inputs(x), rows, batch_size=7)
    assert list(found) == ["network.0.weight", "network.2.weight"]
    torch.testing.assert_close(found["network.0.weight"], x[3:47].T @ x[3:47] / 44)
    change = normal(4, 8, seed=3)
    before = method.logits(x[3:47])
    with torch.no_grad():
        method.network[2].weight += change
    error = (method.logits(x[3:47]) - before).square().sum(1).mean()
    torch.testing.assert_close(loss(change, found["network.2.weight"]), error)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 1)},
        {"kernel_size": 3, "dilation": (1, 2), "padding": 2, "stride": 3},
        {"kernel_size": (4, 2), "padding": "same"},
        {"kernel_size": 2, "padding": "valid"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"},
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_gram_of_a_convolution_gives_the_error_of_its_outputs(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]
) -> None:
    x, method = normal(9, 3, 8, 7), Method(nn.Conv2d(3, 5, **settings))
    layer = method.network[0]
    gram = layer_grams(method, Inputs(x), torch.arange(9))["network.0.weight"]
    change = normal(*layer.weight.shape, seed=3)
    before = method.logits(x)
    with torch.no_grad():
        layer.weight += change
    error = (method.logits(x) - before).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(loss(change.flatten(1), gram), error)
    monkeypatch.setattr(grams, "WORKSPACE_BYTES", 1)
    one_by_one = layer_grams(method, Inputs(x), torch.arange(9), batch_size=4)["network.0.weight"]
    torch.testing.assert_close(one_by_one, gram)


def test_uses_of_a_layer_and_positions_are_summed() -> None:
    shared, x = nn.Linear(4, 4, bias=False), normal(10, 3, 4)
    gram = layer_grams(Method(shared, shared), Inputs(x), torch.arange(10))["network.0.weight"]
    first, second = x.flatten(0, 1), shared(x).flatten(0, 1).detach()
    torch.testing.assert_close(gram, (first.T @ first + second.T @ second) / 10)


def test_the_method_is_left_as_it_was() -> None:
    method = Method(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
    method.network.train()
    method.network[2].eval()
    modes = [child.training for child in method.modules()]
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    data = Inputs(normal(20, 5))
    once = layer_grams(method, data, torch.arange(20))
    for name, gram in layer_grams(method, data, torch.arange(20), batch_size=3).items():
        torch.testing.assert_close(gram, once[name])  # neither batch statistics nor dropout
    assert modes == [child.training for child in method.modules()]
    assert all(torch.equal(tensor, state[name]) for name, tensor in method.state_dict().items())
    assert not any(child._forward_pre_hooks for child in method.modules())
    assert not any(gram.requires_grad for gram in once.values())


def test_layers_that_nothing_passes_have_no_gram() -> None:
    method = Method(nn.Linear(3, 2))
    method.critic = nn.Linear(4, 4).double()
    assert list(layer_grams(method, Inputs(normal(5, 3)), torch.arange(5))) == ["network.0.weight"]


def test_layers_that_are_not_plain_are_refused() -> None:
    data, rows = Inputs(normal(5, 4, 6, 6)), torch.arange(5)
    method = Method(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(Refusal, match=r"network\.0 is a convolution with 2 groups"):
        layer_grams(method, data, rows)
    assert method.training
    with pytest.raises(Refusal, match=r"weight of network\.0 is computed"):
        layer_grams(Method(nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))), data, rows)
    with pytest.raises(Refusal, match="at least one"):
        layer_grams(Method(nn.Linear(6, 2)), data, rows[:0])
    with pytest.raises(Refusal, match="Linear has no logits"):
        layer_grams(nn.Linear(6, 2), data, rows)
