"""Counted randomness."""

import itertools

import numpy as np
import torch

from ibsuite.seeds import derive_seed, generator


def test_every_entry_and_their_order_count() -> None:
    keys = list(itertools.product(range(6), repeat=3))
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert derive_seed(1, 2, 3) != derive_seed(3, 2, 1)


def test_seeds_fit_every_generator() -> None:
    for key in itertools.product(range(4), repeat=2):
        assert 0 <= derive_seed(*key) < 2**63
        torch.Generator().manual_seed(derive_seed(*key))


def test_the_same_key_gives_the_same_draws_whatever_was_drawn_before() -> None:
    first = torch.rand(5, generator=generator(4, 2))
    torch.rand(100)
    torch.manual_seed(9)
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(first, torch.rand(5, generator=generator(4, 2)))
    assert not torch.equal(first, torch.rand(5, generator=generator(4, 3)))
    assert generator(4, 2).device.type == "cpu"


def test_neighbouring_keys_are_unrelated() -> None:
    """Draws of a hundred neighbouring keys: mean and correlation as of independent ones."""
    draws = torch.stack([torch.rand(400, generator=generator(0, block)) for block in range(100)])
    assert abs(float(draws.mean()) - 0.5) < 0.006  # four standard errors
    correlations = torch.corrcoef(draws)[~torch.eye(100, dtype=torch.bool)]
    assert float(correlations.abs().max()) < 0.3  # six standard errors


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    generator(1, 2, 3)
    assert torch.equal(before, torch.get_rng_state())


def test_keys_of_other_lengths_and_widths_are_other_keys() -> None:
    keys = [(5,), (5, 0), (5, 0, 0), (5 + 2**32,), (5, 1), (3, 7), (3 + 7 * 2**32,)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
