import itertools

import pytest
import torch
from torch import Tensor

from ibsuite.compression import prune, zeroing_costs

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


# By what zeroing costs


def drawn(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    draws = torch.Generator().manual_seed(seed)
    shapes = {"a": (2, 3), "bias": (3,), "b": (2, 2)}
    tensors = {name: torch.randn(shape, generator=draws) for name, shape in shapes.items()}
    quadratic, quartic = (
        {name: torch.rand(shape, generator=draws) ** 2 for name, shape in shapes.items()} for _ in range(2)
    )
    return tensors, quadratic, quartic


def test_zeroing_costs_are_quadratic_and_quartic() -> None:
    tensors = {"w": torch.tensor([[2.0, -0.5]]), "bias": torch.tensor([1.0])}
    quadratic, quartic = {"w": torch.tensor([[3.0, 4.0]])}, {"w": torch.tensor([[0.5, 16.0]])}
    assert zeroing_costs(tensors)["w"].tolist() == [[4, 0.25]]
    assert zeroing_costs(tensors, quadratic)["w"].tolist() == [[12, 1]]
    assert zeroing_costs(tensors, None, quartic)["w"].tolist() == [[12, 1.25]]
    assert zeroing_costs(tensors, quadratic, quartic)["w"].tolist() == [[20, 2]]
    assert zeroing_costs(tensors).keys() == {"w"}


@pytest.mark.parametrize("scope", ["network", "tensor"])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_weights_of_that_number_cost_less(scope: str, seed: int) -> None:
    tensors, quadratic, quartic = drawn(seed)
    costs = zeroing_costs(tensors, quadratic, quartic)
    pruned = prune(tensors, 0.5, scope, costs)  # type: ignore[arg-type]
    for names in [["a", "b"]] if scope == "network" else [["a"], ["b"]]:
        cost = torch.cat([costs[name].flatten() for name in names])
        gone = torch.cat([pruned[name].flatten() for name in names]) == 0
        number = round(0.5 * len(cost))
        assert int(gone.sum()) == number
        least = min(
            float(cost[list(rows)].sum()) for rows in itertools.combinations(range(len(cost)), number)
        )
        assert float(cost[gone].sum()) == pytest.approx(least, rel=1e-12)


def test_squares_as_costs_prune_by_magnitude() -> None:
    tensors, _, _ = drawn(9)
    by_cost, by_magnitude = prune(tensors, 0.4, costs=zeroing_costs(tensors)), prune(tensors, 0.4)
    assert all(torch.equal(by_cost[name], by_magnitude[name]) for name in tensors)


def test_zeros_go_before_weights_that_cost_nothing() -> None:
    tensors = {"a": torch.tensor([[1.0, 2.0, 0.0, 3.0]]), "b": torch.tensor([[4.0, 0.0, 0.0, 5.0]])}
    costs = {"a": torch.tensor([[0.0, 0.0, 7.0, 1.0]]), "b": torch.tensor([[0.0, 0.0, 0.0, 1.0]])}
    pruned = prune(tensors, 3 / 8, costs=costs)
    assert torch.equal(pruned["a"], tensors["a"])
    assert torch.equal(pruned["b"], tensors["b"])
    pruned = prune(tensors, 5 / 8, costs=costs)  # the earlier of equals
    assert pruned["a"].tolist() == [[0, 0, 0, 3]]
    assert pruned["b"].tolist() == [[4, 0, 0, 5]]


def test_what_is_pruned_is_orthogonal_to_what_is_left() -> None:
    tensors, quadratic, _ = drawn(3)
    pruned = prune(tensors, 0.5, costs=zeroing_costs(tensors, quadratic))
    for name in ("a", "b"):
        assert float((pruned[name] * quadratic[name] * (tensors[name] - pruned[name])).sum()) == 0
        assert not torch.equal(pruned[name], tensors[name])


def test_bad_costs_are_named() -> None:
    tensors, quadratic, _ = drawn(0)
    costs = zeroing_costs(tensors)
    for bad in ({"a": costs["a"]}, costs | {"b": costs["b"][0]}):
        with pytest.raises(ValueError, match="'b' needs costs of its shape"):
            prune(tensors, 0.5, costs=bad)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Costs of 'a' must be finite"):
            prune(tensors, 0.5, costs=costs | {"a": torch.full((2, 3), value)})
        with pytest.raises(ValueError, match="Importances of 'a' must be finite"):
            zeroing_costs(tensors, quadratic, quadratic | {"a": torch.full((2, 3), value)})
    with pytest.raises(ValueError, match="not finite; it cannot be pruned"):
        zeroing_costs({"w": torch.tensor([[float("inf")]])})
