"""Random projections against their matrices, and Li et al.'s toy, whose intrinsic dimension is 10 exactly."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from ibsuite.compression import random_projection
from ibsuite.compression.fastfood import hadamard
from ibsuite.compression.subspaces import ProjectionKind, Sparse
from ibsuite.interface import Refusal
from ibsuite.seeds import generator

KINDS = get_args(ProjectionKind)
SIZES = [(1, 1), (1, 7), (5, 40), (13, 100), (64, 64), (33, 1000), (300, 1100)]
all_kinds = pytest.mark.parametrize("kind", KINDS)


def matrix(projection: nn.Module, dimension: int) -> Tensor:
    """Column by column."""
    return torch.stack([projection(unit) for unit in torch.eye(dimension)], 1)


@all_kinds
@pytest.mark.parametrize(("dimension", "size"), SIZES)
def test_columns_have_length_one_and_forward_and_backward_are_products_with_the_matrix(
    kind: ProjectionKind, dimension: int, size: int
) -> None:
    projection = random_projection(kind, dimension, size, 3)
    p = matrix(projection, dimension)
    assert p.shape == (size, dimension)
    torch.testing.assert_close(p.norm(dim=0), torch.ones(dimension), atol=1e-5, rtol=0)
    z, g = torch.randn(dimension, requires_grad=True), torch.randn(size)
    moved = projection(z)
    torch.testing.assert_close(moved.detach(), p @ z.detach(), atol=1e-4, rtol=1e-4)
    moved.backward(g)
    torch.testing.assert_close(z.grad, p.T @ g, atol=1e-4, rtol=1e-4)
    assert not projection.state_dict()  # nothing of it is saved or sent


@all_kinds
def test_gradients_by_finite_differences(kind: ProjectionKind) -> None:
    projection = random_projection(kind, 6, 50, 1).double()
    assert torch.autograd.gradcheck(projection, torch.randn(6, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize(
    ("kind", "spread"),
    # Fastfood: the variance of a squared Gaussian is 2. Kronecker: 18 of the 99 other columns share a factor
    # of 10, and the inner product of the other factors, of sqrt(D) rows, is all there is.
    [("dense", 1), ("sparse", 1), ("fastfood", 2**0.5), ("kronecker", (18 / 99) ** 0.5 * 20_000**0.25)],
)
def test_columns_are_nearly_orthogonal(kind: ProjectionKind, spread: float) -> None:
    """Inner products have mean 0 and standard deviation spread / sqrt(D)."""
    dimension, size = 100, 20_000
    p = matrix(random_projection(kind, dimension, size, 5), dimension)
    products = (p.T @ p)[~torch.eye(dimension, dtype=torch.bool)] * size**0.5
    assert float(products.mean()) == pytest.approx(0, abs=0.1 * spread)
    assert float(products.std()) == pytest.approx(spread, rel=0.2)
    z = torch.randn(dimension, generator=generator(0))
    assert float((p @ z).norm() / z.norm()) == pytest.approx(1, abs=0.02 * spread)


@all_kinds
def test_a_function_of_seed_dimension_and_size_alone(kind: ProjectionKind) -> None:
    z = torch.ones(20)
    torch.manual_seed(1)
    kept = random_projection(kind, 20, 333, 7)(z)
    torch.manual_seed(2)
    assert torch.equal(random_projection(kind, 20, 333, 7)(z), kept)
    assert (kept - random_projection(kind, 20, 333, 8)(z)).abs().max() > 0.01
    assert (kept[:300] - random_projection(kind, 20, 300, 7)(z)).abs().max() > 0.01


def test_sparse_has_the_density_of_very_sparse_projections() -> None:
    """Li, Hastie & Church 2006: one entry in sqrt(D), which here is 1 / 20, all over the rows."""
    p = matrix(Sparse(500, 400, generator(0)), 500)
    assert ((p != 0).sum(0) == 20).all()
    torch.testing.assert_close(p[p != 0].abs(), torch.full((500 * 20,), 20**-0.5))
    assert float((p > 0).sum() / (p != 0).sum()) == pytest.approx(0.5, abs=0.02)
    per_row = (p != 0).sum(1).double()  # binomial, 500 draws of 1 / 20
    assert float(per_row.mean()) == 25
    assert float(per_row.var()) == pytest.approx(500 / 20 * 19 / 20, rel=0.25)


def test_kronecker_is_a_product_of_two_matrices() -> None:
    """Up to the lengths of its columns; 7 * 9 weights and 2 * 3 coordinates need no cutting."""
    projection = random_projection("kronecker", 6, 56, 2)
    full = torch.kron(projection.a, projection.b)
    torch.testing.assert_close(matrix(projection, 6), full / full.norm(dim=0))


def test_fastfood_is_the_product_of_its_factors() -> None:
    """S H G Pi H B with the matrices written out, in one block."""
    f = random_projection("fastfood", 8, 8, 2)
    h = hadamard(3)
    torch.testing.assert_close(h @ h, 8 * torch.eye(8))
    pi = torch.eye(8)[f.permutation[0]]
    product = h @ torch.diag(f.gaussians[0]) @ pi @ h @ torch.diag(f.signs[0])
    torch.testing.assert_close(matrix(f, 8), product / product.norm(dim=0))


@all_kinds
def test_li_et_al_toy_has_intrinsic_dimension_ten(kind: ProjectionKind) -> None:
    """1,000 parameters, 10 constraints: each 100 of them have to sum to 1, 2, ..., 10 (their section 2)."""
    targets = torch.arange(1.0, 11, dtype=torch.float64)

    def least_loss(dimension: int) -> float:
        p = matrix(random_projection(kind, dimension, 1000, 4), dimension).double()
        sums = p.view(10, 100, dimension).sum(1)
        z = torch.linalg.lstsq(sums, targets[:, None], driver="gelsd").solution
        return float((sums @ z - targets[:, None]).square().sum())

    assert least_loss(10) < 1e-12
    assert least_loss(12) < 1e-12
    assert least_loss(9) > 1e-3


@pytest.mark.parametrize("kind", ["dense", "fastfood"])
def test_as_many_coordinates_as_weights_reach_all_weights(kind: ProjectionKind) -> None:
    wanted = torch.randn(64, dtype=torch.float64)
    p = matrix(random_projection(kind, 64, 64, 0), 64).double()
    z = torch.linalg.solve(p, wanted)
    torch.testing.assert_close(p @ z, wanted)


@pytest.mark.parametrize("dimension", [0, -3, 101])
def test_impossible_dimensions_are_refused(dimension: int) -> None:
    with pytest.raises(Refusal, match=f"from 1 to 100 dimensions, not {dimension}"):
        random_projection("sparse", dimension, 100, 0)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Refusal, match="dense, sparse, fastfood, kronecker; got 'banded'"):
        random_projection("banded", 3, 100, 0)  # type: ignore[arg-type]
