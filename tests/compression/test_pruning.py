import pytest
import torch

from ibsuite.compression import prune

TENSORS = {
    "conv": torch.tensor([[[[0.1, -0.9]]], [[[0.3, 0.2]]]]),
    "bias": torch.tensor([0.001, 0.002]),
    "linear": torch.tensor([[-0.5, 4.0], [0.0, 5.0]]),
}


def test_the_smallest_weights_of_the_network_go() -> None:
    pruned = prune(TENSORS, 0.5)
    assert torch.equal(pruned["conv"], torch.tensor([[[[0, -0.9]]], [[[0, 0]]]]))
    assert torch.equal(pruned["linear"], torch.tensor([[-0.5, 4.0], [0, 5.0]]))
    assert torch.equal(pruned["bias"], TENSORS["bias"])


def test_the_smallest_weights_of_each_tensor_go() -> None:
    pruned = prune(TENSORS, 0.5, scope="tensor")
    assert torch.equal(pruned["conv"], torch.tensor([[[[0, -0.9]]], [[[0.3, 0]]]]))
    assert torch.equal(pruned["linear"], torch.tensor([[0, 4.0], [0, 5.0]]))


@pytest.mark.parametrize("sparsity", [0.0, 0.13, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("scope", ["network", "tensor"])
def test_exactly_that_share_goes_and_nothing_larger_than_what_stays(sparsity: float, scope: str) -> None:
    tensors = {"a": torch.randn(20, 30), "b": 3 * torch.randn(8, 2, 3, 3)}
    pruned = prune(tensors, sparsity, scope)  # type: ignore[arg-type]
    groups = [["a", "b"]] if scope == "network" else [["a"], ["b"]]
    for names in groups:
        before = torch.cat([tensors[name].flatten() for name in names])
        after = torch.cat([pruned[name].flatten() for name in names])
        gone = after == 0
        assert int(gone.sum()) == round(sparsity * len(before))
        assert torch.equal(after[~gone], before[~gone])
        if gone.any() and not gone.all():
            assert before[gone].abs().max() <= before[~gone].abs().min()


def test_of_equals_the_earlier_goes() -> None:
    pruned = prune({"a": torch.ones(2, 2), "b": -torch.ones(1, 2)}, 0.5)
    assert pruned["a"].tolist() == [[0, 0], [0, 1]]
    assert pruned["b"].tolist() == [[-1, -1]]


def test_what_was_given_is_left_alone() -> None:
    before = {name: tensor.clone() for name, tensor in TENSORS.items()}
    pruned = prune(TENSORS, 0.9)
    pruned["bias"].zero_()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensor, before[name])


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="sparsity"):
        prune(TENSORS, 1.5)
    with pytest.raises(ValueError, match="'w'"):
        prune({"w": torch.tensor([[1.0, float("nan")]])}, 0.5)
