"""Optimal Brain Surgeon against least squares over all masks, and against its updates as they are printed."""

import heapq
import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ibsuite.compression import (
    LayerPruning,
    OptimalBrainPruning,
    optimal_brain,
    optimal_brain_quantise,
    prune,
)
from ibsuite.interface import Refusal


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram_of(inputs: int, seed: int = 0) -> Tensor:
    """Of correlated inputs of different sizes."""
    x = normal(4 * inputs, inputs, seed=seed) @ normal(inputs, inputs, seed=seed + 1000)
    return x.T @ x / len(x)


def damp(gram: Tensor, share: float = 0.01) -> Tensor:
    return gram + share * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=torch.float64)


def loss(change: Tensor, gram: Tensor) -> Tensor:
    return ((change @ gram) * change).sum(-1)


def best(w: Tensor, gram: Tensor, kept: Tensor) -> Tensor:
    """The least-squares weights of one row on a mask."""
    fitted = torch.zeros_like(w)
    fitted[kept] = torch.linalg.solve(gram[kept][:, kept], gram[kept] @ w)
    return fitted


# Pruning


def test_first_to_go_is_the_one_whose_loss_is_least_by_least_squares() -> None:
    w, gram = normal(6, 8), gram_of(8)
    pruning = LayerPruning(w, gram, damping=0)
    for row, order, losses in zip(w, pruning.order, pruning.losses, strict=True):
        each = torch.stack([loss(row - best(row, gram, torch.arange(8) != p), gram) for p in range(8)])
        assert int(order[0]) == int(each.argmin())
        torch.testing.assert_close(losses[0], each.min())
        torch.testing.assert_close(each, row.square() / gram.inverse().diagonal())


@pytest.mark.parametrize("steps", [1, 5, 64])
def test_every_step_is_the_best_single_step(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Losses add up to the quadratic loss of least squares, and any other removal would have cost more."""
    monkeypatch.setattr(optimal_brain, "STEPS_AT_ONCE", steps)
    w, gram = normal(3, 12), gram_of(12)
    pruning = LayerPruning(w, gram, damping=0)
    for row, order, losses in zip(w, pruning.order, pruning.losses, strict=True):
        assert sorted(order.tolist()) == list(range(12))
        kept = torch.ones(12, dtype=torch.bool)
        for step, total in enumerate(losses.cumsum(0)):
            rivals = {}
            for p in kept.nonzero()[:, 0].tolist():
                without = kept & (torch.arange(12) != p)
                rivals[p] = float(loss(row - best(row, gram, without), gram))
            assert int(order[step]) == min(rivals, key=lambda p: rivals[p])
            assert float(total) == pytest.approx(min(rivals.values()), rel=1e-9)
            kept[order[step]] = False


def test_long_traces_add_up() -> None:
    """Over blocks of steps: 150 inputs, the damped Gram matrix."""
    w, gram = normal(4, 150), gram_of(150)
    damped = damp(gram)
    pruning = LayerPruning(w, gram)
    for gone in (1, 64, 65, 100, 149, 150):
        for row, order, losses in zip(w, pruning.order, pruning.losses, strict=True):
            kept = torch.ones(150, dtype=torch.bool)
            kept[order[:gone]] = False
            expected = float(loss(row - best(row, damped, kept), damped))
            assert float(losses[:gone].sum()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_what_is_left_satisfies_the_normal_equations(sparsity: float) -> None:
    w, gram = normal(10, 40), gram_of(40)
    damped = damp(gram)
    pruning = LayerPruning(w, gram)
    kept, pruned = pruning.mask(sparsity), pruning.prune(sparsity)
    assert torch.equal(pruned != 0, kept)
    assert int((~kept).sum()) == round(sparsity * 400)
    gradient = (w - pruned) @ damped
    assert gradient[kept].abs().sum() < 1e-9
    if 0 < sparsity < 1:
        assert gradient[~kept].abs().min() > 1e-6
        assert len(kept.sum(1).unique()) > 1  # rows are not alike
        for row, mask, found in zip(w, kept, pruned, strict=True):
            torch.testing.assert_close(found, best(row, damped, mask))
            gone = set((~mask).nonzero()[:, 0].tolist())
            assert any(gone == set(order[: len(gone)].tolist()) for order in pruning.order)
    if sparsity == 0:
        assert torch.equal(pruned, w)


@pytest.mark.parametrize("seed", range(4))
def test_against_all_masks(seed: int) -> None:
    w, gram = normal(1, 8, seed=seed), gram_of(8, seed)
    pruning = LayerPruning(w, gram, damping=0)
    for gone in range(9):
        found = float(loss(w - pruning.prune(gone / 8), gram))
        masks = itertools.combinations(range(8), 8 - gone)
        losses = [float(loss(w[0] - best(w[0], gram, torch.tensor(kept).long()), gram)) for kept in masks]
        assert found >= min(losses) * (1 - 1e-9) - 1e-12
        assert found <= sorted(losses)[len(losses) // 2] + 1e-12
        if gone in (0, 1, 8):
            assert found == pytest.approx(min(losses), rel=1e-9, abs=1e-12)


def test_with_uncorrelated_inputs_it_is_magnitude_pruning() -> None:
    w = normal(20, 30).float()
    for damping in (0, 0.01):
        pruning = LayerPruning(w, torch.eye(30), damping)
        for sparsity in (0.0, 0.13, 0.5, 0.999):
            expected = prune({"w": w}, sparsity, scope="tensor")["w"]
            assert torch.equal(pruning.prune(sparsity), expected)


def test_rows_take_turns_by_their_next_loss() -> None:
    w, gram = normal(7, 9), gram_of(9)
    pruning = LayerPruning(w, gram)
    assert (pruning.losses.diff() < 0).any()  # a loss may be less than the one before it
    heap = [(float(losses[0]), row, 0) for row, losses in enumerate(pruning.losses)]
    heapq.heapify(heap)
    kept = torch.ones(7, 9, dtype=torch.bool)
    for gone in range(63):
        assert torch.equal(pruning.mask(gone / 63), kept)
        _, row, step = heapq.heappop(heap)
        kept[row, pruning.order[row, step]] = False
        if step < 8:
            heapq.heappush(heap, (float(pruning.losses[row, step + 1]), row, step + 1))


def test_damping_is_a_share_of_the_mean_diagonal() -> None:
    w, gram = normal(5, 20), gram_of(20)
    damped = damp(gram, 0.3)
    one, other = LayerPruning(w, gram, 0.3), LayerPruning(w, damped, 0)
    assert torch.equal(one.order, other.order)
    torch.testing.assert_close(one.prune(0.6), other.prune(0.6))
    values = torch.arange(-6, 7) / 2
    coarse = optimal_brain_quantise(w, gram, values, 0.3)
    assert torch.equal(coarse, optimal_brain_quantise(w, damped, values, 0))
    assert not torch.equal(coarse, optimal_brain_quantise(w, gram, values, 0))


@pytest.mark.parametrize("damping", [0, 0.01])
def test_weights_of_dead_inputs_cost_nothing(damping: float) -> None:
    w, gram = normal(6, 12), gram_of(12)
    dead = torch.tensor([0, 5, 11])
    gram[dead], gram[:, dead] = 0, 0
    pruning = LayerPruning(w, gram, damping)
    assert (pruning.order[:, :3].sort(1).values == dead).all()
    assert (pruning.losses[:, :3] == 0).all()
    assert (pruning.losses[:, 3:] > 0).all()
    pruned = pruning.prune(10 / 72)
    assert int((pruned == 0).sum()) == 10
    assert torch.equal(pruned[pruned != 0], w[pruned != 0])  # no other weight has to make up for them
    live = torch.tensor([i for i in range(12) if i not in dead])
    alone = LayerPruning(w[:, live], gram[live][:, live], damping * 9 / 12)
    assert torch.equal(live[alone.order], pruning.order[:, 3:])
    values = torch.tensor([-1.0, 0.0, 1.0])
    coarse = optimal_brain_quantise(w, gram, values, damping)
    assert torch.equal(coarse[:, dead], w[:, dead].clamp(-1, 1).round())
    nothing = LayerPruning(w, torch.zeros(12, 12), damping)
    assert torch.equal(nothing.prune(0.0), w)
    assert not nothing.losses.any()


def test_chunks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    w, gram, values = normal(9, 30), gram_of(30), torch.arange(-9, 10) / 3

    def results() -> Iterator[Tensor]:
        pruning = LayerPruning(w, gram)
        yield from (pruning.order, pruning.losses, pruning.prune(0.7))
        yield optimal_brain_quantise(pruning.prune(0.7), gram, values)

    together = list(results())
    for room in (1, 8 * 2 * 30**2 * 4):
        monkeypatch.setattr(optimal_brain, "WORKSPACE_BYTES", room)
        for one, other in zip(together, results(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_kernels_keep_their_shape_and_type() -> None:
    w = normal(6, 3, 2, 2).float()
    pruning = LayerPruning(w, gram_of(12))
    flat = LayerPruning(w.flatten(1).double(), gram_of(12))
    for sparsity in (0.4, 1.0):
        pruned = pruning.prune(sparsity)
        assert pruned.shape == w.shape
        assert pruned.dtype == torch.float32
        torch.testing.assert_close(pruned.flatten(1).double(), flat.prune(sparsity), rtol=1e-6, atol=0)


def test_a_network_loses_the_same_share_of_every_layer() -> None:
    tensors = {"a.weight": normal(5, 8), "a.bias": normal(5), "b.weight": normal(3, 5)}
    grams = {"a.weight": gram_of(8), "b.weight": gram_of(5)}
    pruning = OptimalBrainPruning(tensors, grams)
    for sparsity in (0.5, 0.8):
        pruned = pruning.prune(sparsity)
        assert list(pruned) == list(tensors)
        assert torch.equal(pruned["a.bias"], tensors["a.bias"])
        for name, gram in grams.items():
            assert torch.equal(pruned[name], LayerPruning(tensors[name], gram).prune(sparsity))
            assert int((pruned[name] == 0).sum()) == round(sparsity * pruned[name].numel())
        pruned["a.bias"].zero_()  # a copy
    with pytest.raises(ValueError, match=r"'b\.weight' has no Gram matrix"):
        OptimalBrainPruning(tensors, {"a.weight": grams["a.weight"]})


# Quantisation


def nearest(w: Tensor, values: Tensor) -> Tensor:
    return values[(w[..., None] - values).abs().argmin(-1)]


def surgeon(w: Tensor, gram: Tensor, values: Tensor, columns: list[int]) -> Tensor:
    """OBQ's updates as they are printed, with the inverse itself, in a given order."""
    w, inverse = w.clone(), gram.inverse()
    for j in columns:
        error = w[:, j] - nearest(w[:, j], values)
        w -= error[:, None] * inverse[j] / inverse[j, j]
        w[:, j] = nearest(w[:, j], values)
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        inverse[j], inverse[:, j] = 0, 0
    return w


@pytest.mark.parametrize("by_activation", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_quantisation_is_the_surgeons_in_a_fixed_order(by_activation: bool, seed: int) -> None:
    w, gram, values = normal(20, 15, seed=seed), gram_of(15, seed), normal(7, seed=seed + 50)
    columns = gram.diagonal().argsort(descending=True).tolist() if by_activation else list(range(15))
    found = optimal_brain_quantise(w, gram, values, 0, by_activation=by_activation)
    torch.testing.assert_close(found, surgeon(w, gram, values, columns))
    assert torch.isin(found, values).all()
    assert not torch.equal(found, nearest(w, values))


def test_with_uncorrelated_inputs_it_is_rounding() -> None:
    w, values = normal(20, 30).float(), normal(9).float()
    gram = torch.diag(torch.rand(30, generator=torch.Generator().manual_seed(0)) + 0.1)
    assert torch.equal(optimal_brain_quantise(w, gram, values), nearest(w, values))


@pytest.mark.parametrize("by_activation", [True, False])
def test_layers_lose_less_than_by_rounding(by_activation: bool) -> None:
    values = torch.arange(-8, 9, dtype=torch.float64) / 2
    for seed in range(20):
        w, gram = normal(30, 16, seed=seed), gram_of(16, seed)
        found = optimal_brain_quantise(w, gram, values, by_activation=by_activation)
        assert loss(w - found, gram).sum() < 0.7 * loss(w - nearest(w, values), gram).sum()


def test_rows_with_zeros_are_quantised_as_if_these_were_not_there() -> None:
    w, gram, values = normal(12, 10), gram_of(10), torch.arange(-8, 9, dtype=torch.float64) / 2
    w[normal(12, 10, seed=9) > 0.3] = 0
    w[3], w[4] = 0, normal(10, seed=5)
    found = optimal_brain_quantise(w, gram, values, 0)
    assert (found[w == 0] == 0).all()
    for row, quantised in zip(w, found, strict=True):
        kept = row != 0
        if kept.any():
            alone = optimal_brain_quantise(row[kept][None], gram[kept][:, kept], values, 0)
            assert torch.equal(quantised[kept], alone[0])
    free = optimal_brain_quantise(w, gram, values, 0, keep_zeros=False)
    assert (free[w == 0] != 0).any()
    assert torch.equal(free[4], found[4])
    assert not optimal_brain_quantise(torch.zeros(3, 10), gram, values).any()


def test_values_have_the_type_of_the_weight() -> None:
    w, values = normal(4, 3, 2, 2).float(), torch.tensor([0.3, -0.7, 0.1], dtype=torch.float64)
    found = optimal_brain_quantise(w, gram_of(12), values)
    assert found.dtype == torch.float32
    assert found.shape == w.shape
    assert torch.isin(found, values.float()).all()
    assert (optimal_brain_quantise(w, gram_of(12), torch.tensor([0.25])) == 0.25).all()


def test_errors_are_those_of_values_as_they_are_stored() -> None:
    w, values = normal(50, 12).bfloat16(), torch.linspace(-2, 2, 30)
    found = optimal_brain_quantise(w, gram_of(12), values)
    exact = optimal_brain_quantise(w.double(), gram_of(12), values.bfloat16())
    assert torch.equal(found.double(), exact)
    assert not torch.equal(found, optimal_brain_quantise(w.double(), gram_of(12), values).bfloat16())


# Refusals


def test_wide_layers_are_refused() -> None:
    with pytest.raises(Refusal, match=r"2,501 inputs.*stops at 2,500"):
        LayerPruning(torch.zeros(1, 2501), torch.zeros(1))


def test_bad_input_is_named() -> None:
    w, gram, values = normal(4, 5), gram_of(5), torch.tensor([-1.0, 1.0])
    for sparsity in (-0.1, 1.5):
        with pytest.raises(ValueError, match="sparsity"):
            LayerPruning(w, gram).prune(sparsity)
    with pytest.raises(ValueError, match="damping"):
        LayerPruning(w, gram, -1)
    with pytest.raises(ValueError, match=r"shape \(5, 5\), got \(4, 4\)"):
        LayerPruning(w, gram_of(4))
    with pytest.raises(ValueError, match="not finite"):
        LayerPruning(w / 0, gram)
    singular = torch.ones(5, 5)
    with pytest.raises(ValueError, match="larger damping"):
        LayerPruning(w, singular, 0)
    with pytest.raises(ValueError, match="larger damping"):
        optimal_brain_quantise(w, singular, values, 0)
    assert LayerPruning(w, singular).prune(0.5).isfinite().all()
    for bad in (torch.zeros(0), torch.tensor([float("nan")])):
        with pytest.raises(ValueError, match="values must hold"):
            optimal_brain_quantise(w, gram, bad)
    w[0, 0] = 0
    with pytest.raises(ValueError, match="Zeros cannot be kept"):
        optimal_brain_quantise(w, gram, values)
