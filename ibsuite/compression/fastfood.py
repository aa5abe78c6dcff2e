"""The Fastfood transform: a random matrix that acts like a dense Gaussian one, in D (log d) operations."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COLUMNS_AT_ONCE = 256


class Fastfood(nn.Module):
    """P of blocks S H G Pi H B stacked to D rows, its columns normalised: about 16 D bytes.

    Each block is n x n, n the first power of 2 that is d or more: B random signs, H the Walsh-Hadamard
    matrix, Pi a permutation, G Gaussians. S makes every column 1 long, also where the last block is
    cut. Le, Sarlos & Smola 2013; for subspaces Li et al. 2018, section S7.

    Args:
        dimension: d, coordinates.
        size: D, weights.
        draws: where P is drawn from, on the CPU.
    """

    signs: Tensor
    permutation: Tensor
    gaussians: Tensor
    left: Tensor
    right: Tensor
    lengths: Tensor

    def __init__(self, dimension: int, size: int, draws: torch.Generator) -> None:
        super().__init__()
        self.size, log_n = size, (dimension - 1).bit_length()
        n, blocks = 2**log_n, math.ceil(size / 2**log_n)
        signs = torch.randint(2, (blocks, n), generator=draws) * 2.0 - 1
        permutation = torch.stack([torch.randperm(n, generator=draws) for _ in range(blocks)])
        self.register_buffer("signs", signs, persistent=False)
        self.register_buffer("permutation", permutation, persistent=False)
        self.register_buffer("gaussians", torch.randn(blocks, n, generator=draws), persistent=False)
        # H is the Kronecker product of two small ones: two matrix products are faster than log n sums.
        self.register_buffer("left", hadamard(log_n // 2), persistent=False)
        self.register_buffer("right", hadamard(log_n - log_n // 2), persistent=False)
        self.register_buffer("lengths", self._lengths(dimension), persistent=False)

    def _transform(self, x: Tensor) -> Tensor:
        """H x along the last dimension."""
        square = x.unflatten(-1, (len(self.left), len(self.right)))
        return (self.left @ (square @ self.right)).flatten(-2)

    def _blocks(self, z: Tensor, some: slice = slice(None)) -> Tensor:
        """H G Pi H B z, (..., d) -> (..., blocks, n)."""
        padded = F.pad(z, (0, self.signs.shape[1] - z.shape[-1])).unsqueeze(-2)
        permutation = self.permutation[some].expand(*z.shape[:-1], -1, -1)
        mixed = self._transform(padded * self.signs[some]).gather(-1, permutation)
        return self._transform(mixed * self.gaussians[some])

    def _lengths(self, dimension: int) -> Tensor:
        """Of the columns as yet: |H x|^2 = n |x|^2, but for the last block, which is cut."""
        blocks, n = self.signs.shape
        last = self.size - n * (blocks - 1)
        squares = torch.full((dimension,), n * float(self.gaussians[:-1].square().sum()))
        for columns in torch.arange(dimension).split(COLUMNS_AT_ONCE):
            units = F.one_hot(columns, dimension).float()
            squares[columns] += self._blocks(units, slice(-1, None))[:, 0, :last].square().sum(1)
        return squares.sqrt()

    def forward(self, z: Tensor) -> Tensor:
        """P z, (d,) -> (D,)."""
        return self._blocks(z / self.lengths).flatten()[: self.size]


def hadamard(log_n: int) -> Tensor:
    """The Walsh-Hadamard matrix of size n = 2^log_n, entries +-1, H H = n I."""
    matrix = torch.ones(1, 1)
    for _ in range(log_n):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix
