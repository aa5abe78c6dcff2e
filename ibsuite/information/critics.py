"""Critics: small networks that score pairs (x, y), for the bounds on mutual information."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn


class Critic(Protocol):
    """A network that scores every x with every y."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores f(x_i, y_j), (n, m), of x (n, ...) and y (m, ...)."""


class JointCritic(nn.Module):
    """f(x, y) of one network that sees both.

    The first layer is applied to x and to y apart and added up, so that only the layers after it run once for
    each pair.

    Args:
        x_size: coordinates of x.
        y_size: coordinates of y.
        hidden: widths of the hidden layers, at least one.
    """

    def __init__(self, x_size: int, y_size: int, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        self.from_x = nn.Linear(x_size, hidden[0])
        self.from_y = nn.Linear(y_size, hidden[0], bias=False)
        self.rest = nn.Sequential(nn.ReLU(), _mlp([*hidden, 1]))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of every x with every y, (n, m)."""
        return self.rest(self.from_x(x)[:, None] + self.from_y(y)).squeeze(-1)


class SeparableCritic(nn.Module):
    """f(x, y) = g(x) . h(y) + a(x) + b(y): the networks run once for each sample, not for each pair.

    With g and h of enough coordinates it comes as near as one likes to any f. The terms a and b, which few
    give it, are what the log density ratio of Gaussians needs beside the inner product.

    Args:
        x_size: coordinates of x.
        y_size: coordinates of y.
        hidden: widths of the hidden layers of each network.
        embedding: coordinates of g and h.
    """

    def __init__(
        self, x_size: int, y_size: int, hidden: Sequence[int] = (128, 128), embedding: int = 32
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.from_x = _mlp([x_size, *hidden, embedding + 1])
        self.from_y = _mlp([y_size, *hidden, embedding + 1])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of every x with every y, (n, m)."""
        g, a = self.from_x(x).split([self.embedding, 1], 1)
        h, b = self.from_y(y).split([self.embedding, 1], 1)
        return g @ h.T / self.embedding**0.5 + a + b.T


class LabelCritic(nn.Module):
    """f(x, c) for every class c of a label: one network of x with an output for each class.

    Its best scores are log p(c | x) / p(c), up to a constant: a classifier's, before they are normalised.

    Args:
        x_size: coordinates of x.
        num_classes: values of the label.
        hidden: widths of the hidden layers.
    """

    def __init__(self, x_size: int, num_classes: int, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        self.from_x = _mlp([x_size, *hidden, num_classes])

    def of_classes(self, x: Tensor) -> Tensor:
        """Scores of every x with every class, (n, num_classes)."""
        found: Tensor = self.from_x(x)
        return found

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of every x with every label, (n, m), of x (n, x_size) and y (m,), int64."""
        return self.of_classes(x)[:, y]


CRITICS = {"joint": JointCritic, "separable": SeparableCritic}
"""Critics by the names that a command takes."""


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def scores(critic: Critic, x: Tensor, y: Tensor, pairs_at_once: int = 65536) -> Tensor:
    """The whole matrix of scores without gradients, a few rows at a time, (n, m), on the CPU.

    Args:
        critic: the network.
        x: (n, ...).
        y: (m, ...).
        pairs_at_once: at most, so that a joint critic's hidden layers fit into memory.
    """
    with torch.no_grad():
        rows = max(1, pairs_at_once // len(y))
        return torch.cat([critic(part, y).cpu() for part in x.split(rows)])


def off_diagonal(matrix: Tensor) -> Tensor:
    """The scores of pairs from the product of the marginals: every x with the y of every other, (n (n - 1),).

    Args:
        matrix: scores f(x_i, y_j), (n, n); the pairs of the joint distribution are its diagonal.

    Raises:
        ValueError: the matrix is not square, or there is one sample only.
    """
    n = len(matrix)
    if matrix.shape != (n, n) or n < 2:
        raise ValueError(f"scores must be (n, n) of at least two samples, got {tuple(matrix.shape)}")
    return matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()
