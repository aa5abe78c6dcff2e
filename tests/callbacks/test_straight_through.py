"""Training through a quantiser: who gets the gradient, what stays zero, what the codebook becomes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ibsuite.callbacks.straight_through import StraightThrough, requantise
from ibsuite.coding import decode_weights, encode_weights
from ibsuite.compression import prune, quantise_kmeans, quantise_uniform
from ibsuite.interface import Quantised


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_brute_force(weight: Tensor, before: Quantised) -> tuple[list[float], Tensor]:
    """Entry of every weight by looking at all of them; then means; then what lies within the range used."""
    assert before.codebook is not None
    old = [float(value) for value in before.codebook]
    zero = old.index(0.0)
    taken = [min(range(len(old)), key=lambda i: abs(old[i] - w)) for w in weight.double().flatten().tolist()]
    new = []
    for place, value in enumerate(old):
        own = [w for w, at in zip(weight.double().flatten().tolist(), taken, strict=True) if at == place]
        new.append(0.0 if place == zero else sum(own) / len(own) if own else value)
    first, last = min(*taken, zero), max(*taken, zero)
    values = torch.tensor(new, dtype=torch.float64).half().float()
    return values[first : last + 1].tolist(), values[torch.tensor(taken)].reshape(weight.shape)


@pytest.mark.parametrize("seed", range(30))
def test_a_codebook_is_requantised_as_by_brute_force(seed: int) -> None:
    before = quantise_kmeans(random(7, 6, seed=seed), levels=2 + seed % 7)
    moved = random(7, 6, seed=seed + 100) * (0.1 if seed % 3 == 0 else 1.0)  # narrow: ends become unused
    if seed % 5 == 0:
        moved = moved.abs()  # one side becomes unused
    found = requantise(moved, before)
    codebook, values = by_brute_force(moved, before)
    assert found.codebook is not None
    assert found.codebook.tolist() == codebook
    assert torch.equal(found.values(), values)
    assert (found.values()[found.symbols == 0] == 0).all()
    decoded = decode_weights(encode_weights({"w": found}).data, {"w": moved.shape})["w"]
    assert isinstance(decoded, Quantised)
    assert torch.equal(decoded.values(), values)


def test_unused_ends_of_a_codebook_vanish_and_the_middle_stays() -> None:
    before = Quantised(
        torch.tensor([-2, -1, 0, 1, 2]), 1.0, torch.tensor([-2.0, -1, 0, 1, 2], dtype=torch.float16)
    )
    found = requantise(torch.tensor([0.0, 0.2, 1.8, 2.0, 0.1]), before)
    assert found.codebook is not None
    assert found.codebook.tolist() == pytest.approx([0.0, 1.0, 1.9], abs=1e-3)
    assert found.symbols.tolist() == [0, 0, 2, 2, 0]
    nothing = requantise(torch.zeros(5), before)
    assert nothing.codebook is not None
    assert (nothing.codebook.tolist(), nothing.symbols.tolist()) == ([0.0], [0] * 5)


def test_a_grid_is_requantised_with_its_step() -> None:
    before = quantise_uniform(random(5, 4), 0.25)
    moved = random(5, 4, seed=1)
    found = requantise(moved, before)
    assert found.step == before.step == 0.25
    assert torch.equal(found.symbols, (moved / 0.25).round().long())
    assert found.codebook is None


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def message(found: nn.Module, levels: int = 4) -> dict[str, Any]:
    pruned = prune({name: p.detach() for name, p in found.named_parameters()}, 0.5)
    return {
        name: quantise_kmeans(p, levels) if p.ndim > 1 else quantise_uniform(p, 0.01)
        for name, p in pruned.items()
    }


def test_the_gradient_is_that_of_the_coarse_network_and_moves_the_fine_weights() -> None:
    found, x = network(), random(9, 4)
    fine = {name: p.detach().clone() for name, p in found.named_parameters()}
    quantiser = StraightThrough(message(found))
    quantiser.coarsen(found)
    coarse = {name: sent.values() for name, sent in quantiser.quantised.items()}
    assert all(torch.equal(p, coarse[name]) for name, p in found.named_parameters())
    found(x).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in found.named_parameters() if p.grad is not None}

    plain = network()
    plain.load_state_dict(coarse)
    plain(x).square().sum().backward()
    for name, p in plain.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad)

    quantiser.restore(found)
    assert all(torch.equal(p, fine[name]) for name, p in found.named_parameters())
    torch.optim.SGD(found.parameters(), lr=0.1).step()
    for name, p in found.named_parameters():
        torch.testing.assert_close(p.detach(), fine[name] - 0.1 * gradients[name])


def test_what_was_pruned_stays_pruned_and_entries_are_means_of_their_weights() -> None:
    found, x = network(), random(50, 4)
    quantiser = StraightThrough(message(found))
    pruned = {name: sent.values() == 0 for name, sent in quantiser.quantised.items()}
    assert pruned["0.weight"].any()
    optimiser = torch.optim.SGD(found.parameters(), lr=0.3)
    for _ in range(40):
        quantiser.coarsen(found)
        optimiser.zero_grad()
        (found(x) - 1).square().mean().backward()
        quantiser.restore(found)
        optimiser.step()
    fine = {name: p.detach().clone() for name, p in found.named_parameters()}
    # Pruned weights do move behind the quantiser, so that staying zero is its doing.
    assert not torch.equal(fine["0.weight"][pruned["0.weight"]], torch.zeros(10))
    quantiser.coarsen(found)
    for name, sent in quantiser.quantised.items():
        assert (sent.values()[pruned[name]] == 0).all()
        if sent.codebook is not None:
            for symbol in set(sent.symbols[~pruned[name]].tolist()) - {0}:
                own = fine[name][(sent.symbols == symbol) & ~pruned[name]]
                entry = sent.values()[sent.symbols == symbol][0]
                torch.testing.assert_close(entry, own.mean(), rtol=1e-3, atol=1e-4)


def test_goes_on_from_its_state(tmp_path: Any) -> None:
    found = network()
    quantiser = StraightThrough(message(found))
    quantiser.coarsen(found)
    torch.save(quantiser.state_dict(), tmp_path / "state")
    again = StraightThrough({})
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    other = network()
    with torch.no_grad():
        for one, two in zip(found.parameters(), other.parameters(), strict=True):
            one.add_(0.1)
            two.copy_(one)
    quantiser.coarsen(found)
    again.coarsen(other)
    for one, two in zip(found.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    assert again.quantised.keys() == quantiser.quantised.keys()
