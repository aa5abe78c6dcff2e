"""Random projections from a few coordinates to many weights: a matrix P whose columns have unit length.

theta = theta_0 + P z (Li et al. 2018, section 2). Each projection is a function of (seed, dimension, size)
alone, drawn on a CPU generator, so that who has the seed has the subspace.
"""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.compression.fastfood import Fastfood
from ibsuite.interface import Refusal
from ibsuite.seeds import generator

ProjectionKind = Literal["dense", "sparse", "fastfood", "kronecker"]


class Dense(nn.Module):
    """P of independent Gaussians, its columns normalised: 4 d D bytes.

    Li et al. 2018, section 2.

    Args:
        dimension: d, coordinates.
        size: D, weights.
        draws: where P is drawn from, on the CPU.
    """

    columns: Tensor

    def __init__(self, dimension: int, size: int, draws: torch.Generator) -> None:
        super().__init__()
        columns = F.normalize(torch.randn(dimension, size, generator=draws), dim=1)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """P z, (d,) -> (D,)."""
        return z @ self.columns


class SparseProduct(torch.autograd.Function):
    """P z and P^T g where each column of P has the same number of entries, all of one size."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, rows: Tensor, entries: Tensor, size: int) -> Tensor:
        """Add every coordinate's entries up at their rows."""
        ctx.save_for_backward(rows, entries)
        return z.new_zeros(size).index_add_(0, rows.flatten(), (entries * z[:, None]).flatten())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Gather; three to six times faster than what autograd makes of the forward pass."""
        rows, entries = ctx.saved_tensors
        gathered = F.embedding_bag(rows, gradients[0][:, None], mode="sum", per_sample_weights=entries)
        return gathered.squeeze(1), None, None, None


class Sparse(nn.Module):
    """P with round(sqrt(D)) entries in each column, +-1 over the root of their number: 12 d sqrt(D) bytes.

    Very sparse random projections (Li, Hastie & Church 2006: density 1 / sqrt(D)), as Li et al. 2018 use
    them. Each column has one entry in each of round(sqrt(D)) strips of rows, so that entries of a column do
    not coincide and its length is 1 exactly.

    Args:
        dimension: d, coordinates.
        size: D, weights.
        draws: where P is drawn from, on the CPU.
    """

    rows: Tensor
    entries: Tensor

    def __init__(self, dimension: int, size: int, draws: torch.Generator) -> None:
        super().__init__()
        self.size, count = size, round(math.sqrt(size))
        edges = torch.arange(count + 1) * size // count
        place = torch.rand(dimension, count, generator=draws).double()  # 24 bits: below 1 after the product
        rows = edges[:-1] + (place * edges.diff()).long()
        signs = torch.randint(2, (dimension, count), generator=draws) * 2 - 1
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("entries", signs / math.sqrt(count), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """P z, (d,) -> (D,)."""
        product: Tensor = SparseProduct.apply(z, self.rows, self.entries, self.size)
        return product


class Kronecker(nn.Module):
    """P = A kron B of two small Gaussian matrices, cut to D x d, its columns normalised: 8 sqrt(d D) bytes.

    A and B have about sqrt(D) rows and sqrt(d) columns, rounded up. After Lotfi et al. 2022
    (arXiv 2211.13609), whose ``rdkron`` also rounds to whole factors.

    Args:
        dimension: d, coordinates.
        size: D, weights.
        draws: where P is drawn from, on the CPU.
    """

    a: Tensor
    b: Tensor
    lengths: Tensor

    def __init__(self, dimension: int, size: int, draws: torch.Generator) -> None:
        super().__init__()
        self.size = size
        (a_rows, b_rows), (a_columns, b_columns) = _factors(size), _factors(dimension)
        a = torch.randn(a_rows, a_columns, generator=draws)
        b = torch.randn(b_rows, b_columns, generator=draws)
        # Column (i, j) of the product is a_i kron b_j; its last block of b_rows rows is cut.
        whole, left = divmod(size, b_rows)
        squares = a[:whole].square().sum(0).outer(b.square().sum(0))
        if left:
            squares += a[whole].square().outer(b[:left].square().sum(0))
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)
        self.register_buffer("lengths", squares.sqrt(), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """P z, (d,) -> (D,): A Z B^T for the coordinates as a matrix Z."""
        matrix = F.pad(z, (0, self.lengths.numel() - len(z))).view_as(self.lengths) / self.lengths
        return (self.a @ matrix @ self.b.T).flatten()[: self.size]


def _factors(number: int) -> tuple[int, int]:
    """Two numbers near the square root whose product is ``number`` or just more."""
    first = math.isqrt(number - 1) + 1
    return first, math.ceil(number / first)


PROJECTIONS: dict[ProjectionKind, type[nn.Module]] = {
    "dense": Dense, "sparse": Sparse, "fastfood": Fastfood, "kronecker": Kronecker
}  # fmt: skip


def random_projection(kind: ProjectionKind, dimension: int, size: int, seed: int) -> nn.Module:
    """A random projection z -> P z, (d,) -> (D,), differentiable; a function of its arguments alone.

    The columns of P have length 1 and are nearly orthogonal, so that |P z| is about |z|. Nothing of it is
    saved with a module that holds it.

    Args:
        kind: ``sparse`` and ``kronecker`` are the fastest on large networks, ``dense`` is exact but large,
            ``fastfood`` is dense in effect and takes no memory.
        dimension: d, coordinates, at most D.
        size: D, weights.
        seed: of the draws.

    Raises:
        Refusal: there are no coordinates, or more than weights; or the kind is unknown.
    """
    if kind not in PROJECTIONS:
        raise Refusal(f"projection must be one of {', '.join(get_args(ProjectionKind))}; got {kind!r}")
    check_dimension(dimension, size)
    return PROJECTIONS[kind](dimension, size, generator(seed, dimension, size))


def check_dimension(dimension: int, size: int) -> None:
    """Refuse a subspace of no dimension, or of more than there are weights."""
    if not 1 <= dimension <= size:
        raise Refusal(
            f"a subspace of {size} weights has from 1 to {size} dimensions, not {dimension}; change dimension"
        )
