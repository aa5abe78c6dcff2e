"""Layer by layer after training: Optimal Brain Surgeon on every layer's outputs, pruning and quantisation.

A layer with weights W, rows its outputs, and inputs x of mean square G = E[x x'] changes its outputs, when W
becomes W^, by E|(W - W^) x|^2 = sum over rows of (w - w^)' G (w - w^). Rows share G and are worked on apart.

Hassibi & Stork 1993; Frantar, Singh & Alistarh 2022 (arXiv 2208.11580); Frantar et al. 2023
(arXiv 2210.17323).
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ibsuite.interface import Refusal

DAMPING = 0.01
MOST_INPUTS = 2500
STEPS_AT_ONCE = 64
WORKSPACE_BYTES = 2**27


def _matrix(weight: Tensor) -> Tensor:
    """Rows of a linear layer or of kernels, float64."""
    if not weight.isfinite().all():
        raise ValueError("A weight that is not finite can be neither pruned nor quantised.")
    return weight.detach().flatten(1).double()


def _damped(gram: Tensor, weights: Tensor, damping: float) -> Tensor:
    """G + damping mean(diag G) I for weights (rows, d), plus 1 on the diagonal where an input is always 0."""
    inputs, gram = weights.shape[1], gram.detach().to(weights)
    if gram.shape != (inputs, inputs) or not gram.isfinite().all():
        raise ValueError(
            f"The Gram matrix of {inputs} inputs must be finite and of shape ({inputs}, {inputs}), "
            f"got {tuple(gram.shape)}."
        )
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping must be a number that is not negative, got {damping}")
    diagonal = gram.diagonal()
    return gram + torch.diag(damping * diagonal.mean() + (diagonal == 0).double())


def _cholesky(matrices: Tensor) -> Tensor:
    factors, failed = torch.linalg.cholesky_ex(matrices)
    if failed.any():
        raise ValueError("The Gram matrix is not positive definite; use more inputs or a larger damping.")
    return factors


def _in_chunks(compute: Callable[..., Tensor], numbers_per_row: int, *tensors: Tensor) -> Tensor:
    """``compute`` on a few rows of the tensors at a time, for the sake of memory."""
    rows = max(1, WORKSPACE_BYTES // (8 * max(1, numbers_per_row)))
    return torch.cat([compute(*parts) for parts in zip(*(each.split(rows) for each in tensors), strict=True)])


def _supports(gram: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of ``kept``, (r, d): where its kept columns are, (r, k), and G on these, (r, k, k).

    Rows that keep fewer than others are filled up with columns that are not kept; in the matrix these are
    inputs of size 1 that nothing else is correlated with.
    """
    most = int(kept.sum(1).max())
    places = kept.long().argsort(dim=1, descending=True, stable=True)[:, :most]
    real = kept.gather(1, places)
    blocks = gram[places[:, :, None], places[:, None, :]] * (real[:, :, None] & real[:, None, :])
    return places, blocks + torch.diag_embed((~real).double())


def _removal(weights: Tensor, inverse: Tensor) -> Tensor:
    """Greedy Optimal Brain Surgeon on each row of ``weights``, (r, d), to the last weight.

    With C = (G_RR)^-1 of what is left, R: remove p of least w_p^2 / C_pp; w <- w - C_:p w_p / C_pp;
    C <- C - C_:p C_p: / C_pp. The subtractions from C are carried out for several steps at once, as in a
    blocked Cholesky factorisation; a step computes only the column of C that it needs.

    Args:
        weights: w, (r, d).
        inverse: G^-1, (d, d).

    Returns:
        (r, d, 2): which weights went, in that order, and the losses w_p^2 / C_pp.
    """
    rows, inputs = weights.shape
    each = torch.arange(rows, device=weights.device)
    w, places = weights, torch.arange(inputs, device=weights.device).expand(rows, -1)
    c, trace = inverse.expand(rows, -1, -1), []
    while w.shape[1]:
        steps = min(STEPS_AT_ONCE, w.shape[1])
        # Columns C_:p / sqrt(C_pp) of these steps: C now is c - sum of u u'.
        u = w.new_zeros(rows, steps, w.shape[1])
        diagonal, gone = c.diagonal(dim1=1, dim2=2).clone(), torch.zeros_like(w, dtype=torch.bool)
        for step in range(steps):
            loss, p = (w.square() / diagonal).masked_fill_(gone, float("inf")).min(1)
            pivot = diagonal[each, p].sqrt()
            before = u[:, :step]
            column = c[each, p] - torch.bmm(before[each, :, p][:, None], before)[:, 0]
            u[:, step] = column / pivot[:, None]
            w = w - u[:, step] * (w[each, p] / pivot)[:, None]
            diagonal = diagonal - u[:, step].square()
            gone[each, p] = True
            trace.append(torch.stack([places[each, p].double(), loss], 1))
        left = (~gone).nonzero()[:, 1].view(rows, -1)
        u = u.gather(2, left[:, None].expand(-1, steps, -1))
        c = c[each[:, None, None], left[:, :, None], left[:, None]].baddbmm_(u.mT, u, alpha=-1)
        w, places = w.gather(1, left), places.gather(1, left)
    return torch.stack(trace, 1)


class LayerPruning:
    """The order in which the weights of one layer go, from one pass, and the layer at any sparsity.

    Every row is pruned to its last weight by greedy Optimal Brain Surgeon. The traces of all rows are merged:
    the next weight to go is always that of the row whose next loss is the least. At a sparsity, the weights S
    that a row keeps get the values that are best while the others, P, are zero: w_S + (G_SS)^-1 G_SP w_P.
    G is damped: G + damping mean(diag G) I. Weights of inputs that are always 0 cost nothing and go first.

    Time grows with rows d^3: on a processor core 256 rows take some 10 s with d = 784, 4 minutes with
    d = 2,304.

    Source: Frantar, Singh & Alistarh 2022 (arXiv 2208.11580), section 4: ExactOBS and its global step.

    Args:
        weight: (outputs, inputs) or (outputs, channels, height, width).
        gram: E[x x'] of the layer's inputs, (d, d), symmetric.
        damping: share of the mean of G's diagonal that is added to the diagonal.

    Attributes:
        order: input of the weight of each row that goes first, second, ..., (rows, d), int64.
        losses: what each of these removals adds to the row's (w - w^)' G (w - w^), (rows, d), float64.

    Raises:
        ValueError: a weight is not finite; the Gram matrix is not of the layer's shape, or not positive
            definite.
        Refusal: more than 2,500 inputs on a CPU.
    """

    def __init__(self, weight: Tensor, gram: Tensor, damping: float = DAMPING) -> None:
        self.weight = weight.detach().clone()
        w = _matrix(weight)
        inputs = w.shape[1]
        if inputs > MOST_INPUTS and w.device.type == "cpu":
            raise Refusal(
                f"Optimal Brain Surgeon on {inputs:,} inputs of one layer takes hours on a CPU, and stops at "
                f"{MOST_INPUTS:,}; use a GPU, or prune by magnitude."
            )
        self.gram = _damped(gram, w, damping)
        inverse = torch.cholesky_inverse(_cholesky(self.gram))
        free = w.masked_fill(gram.diagonal().to(w) == 0, 0)
        trace = _in_chunks(partial(_removal, inverse=inverse), 2 * inputs**2, free)
        self.order, self.losses = trace[..., 0].long(), trace[..., 1]
        # A row's weight waits for those before it, so that its turn comes with the greatest loss so far.
        turns = self.losses.cummax(1).values.flatten().sort(stable=True).indices
        ranks = torch.empty_like(turns)
        ranks[turns] = torch.arange(len(turns), device=turns.device)
        self._ranks = torch.empty_like(self.order).scatter_(1, self.order, ranks.view_as(self.order))

    def mask(self, sparsity: float) -> Tensor:
        """Which weights are left when round(sparsity n) of n are gone, bool, of the weight's shape.

        Raises:
            ValueError: ``sparsity`` is out of range.
        """
        if not 0 <= sparsity <= 1:
            raise ValueError(f"sparsity must lie in [0, 1], got {sparsity}")
        return (self._ranks >= round(sparsity * self._ranks.numel())).view_as(self.weight)

    def prune(self, sparsity: float) -> Tensor:
        """The weight with round(sparsity n) of its n entries set to zero and the others updated, in its type.

        Args:
            sparsity: share of the weights that goes, in [0, 1].

        Raises:
            ValueError: ``sparsity`` is out of range.
        """
        kept = self.mask(sparsity).flatten(1)
        most = int(kept.sum(1).max())
        pruned = _in_chunks(self._fit, 3 * most**2, _matrix(self.weight), kept)
        return pruned.view_as(self.weight).to(self.weight.dtype)

    def _fit(self, w: Tensor, kept: Tensor) -> Tensor:
        """Least squares on the kept columns of each row: (G_SS)^-1 G_S: w, as a change of w."""
        places, blocks = _supports(self.gram, kept)
        missing = (w.masked_fill(kept, 0) @ self.gram).gather(1, places)
        change = torch.cholesky_solve(missing[:, :, None], _cholesky(blocks))[:, :, 0]
        return torch.where(kept, w.scatter_add(1, places, change), 0)


class OptimalBrainPruning:
    """Optimal Brain Surgeon on every layer of a network, the same sparsity in each.

    Removal orders are computed once, here; ``prune`` may then be called for many sparsities.

    Args:
        tensors: by name; those with two dimensions or more are pruned.
        grams: E[x x'] of the inputs of each of these, as ``layer_grams`` gives them.
        damping: share of the mean of G's diagonal that is added to the diagonal.

    Attributes:
        layers: :class:`LayerPruning` of every weight, by name.

    Raises:
        ValueError: a weight has no Gram matrix or one that does not fit, or is not finite.
        Refusal: a layer has more than 2,500 inputs on a CPU.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], grams: Mapping[str, Tensor], damping: float = DAMPING
    ) -> None:
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        weights = {name: tensor for name, tensor in self.tensors.items() if tensor.ndim > 1}
        for name in weights:
            if name not in grams:
                raise ValueError(f"{name!r} has no Gram matrix; give one, or leave the tensor out.")
        self.layers = {name: LayerPruning(tensor, grams[name], damping) for name, tensor in weights.items()}

    def prune(self, sparsity: float) -> dict[str, Tensor]:
        """Copies of the tensors, round(sparsity n) of the n weights of every layer zero.

        Args:
            sparsity: share of every layer's weights that goes, in [0, 1].

        Raises:
            ValueError: ``sparsity`` is out of range.
        """
        return {
            name: self.layers[name].prune(sparsity) if name in self.layers else tensor.clone()
            for name, tensor in self.tensors.items()
        }


def optimal_brain_quantise(
    weight: Tensor,
    gram: Tensor,
    values: Tensor,
    damping: float = DAMPING,
    keep_zeros: bool = True,
    by_activation: bool = True,
) -> Tensor:
    """``weight`` with every entry one of ``values``, and the error of each taken up by those still to come.

    Columns are rounded one after the other, all rows at once, each to the nearest value of
    w_j + sum_{i before j} A_ij (w_i - q_i) / A_jj, where G = A A' with A upper triangular: what is best for
    j given those rounded before, all later ones being free. A^-1 is the Cholesky factor of G^-1 by which GPTQ
    updates later columns instead. G is damped: G + damping mean(diag G) I.

    Source: Frantar et al. 2023 (arXiv 2210.17323), section 3; the greedy order of OBQ (arXiv 2208.11580,
    section 5) is replaced by a fixed one there.

    Args:
        weight: (outputs, inputs) or (outputs, channels, height, width).
        gram: E[x x'] of the layer's inputs, (d, d), symmetric.
        values: of the codebook, (k,), in any order; rounded to the type of ``weight``.
        damping: share of the mean of G's diagonal that is added to the diagonal.
        keep_zeros: whether weights that are exactly zero stay so; errors then pass them by.
        by_activation: whether columns go by falling diagonal of G, in place of their own order.

    Raises:
        ValueError: ``values`` is empty, not finite or without the zero that is to be kept; a weight is not
            finite; the Gram matrix is not of the layer's shape or not positive definite.
    """
    w = _matrix(weight)
    gram = _damped(gram, w, damping)
    codebook = values.detach().to(weight).double().flatten().unique()
    if not len(codebook) or not codebook.isfinite().all():
        raise ValueError("values must hold at least one number, and finite ones only.")
    kept = w != 0 if keep_zeros else torch.ones_like(w, dtype=torch.bool)
    if not kept.all() and not (codebook == 0).any():
        raise ValueError("Zeros cannot be kept with a codebook that has none; add 0 or set keep_zeros=False.")
    if by_activation:
        columns = gram.diagonal().argsort(descending=True, stable=True)
    else:
        columns = torch.arange(w.shape[1], device=w.device)
    w, kept, gram = w[:, columns], kept[:, columns], gram[columns][:, columns]
    if kept.all():
        factor = _cholesky(gram.flip(0, 1)).flip(0, 1).mT.contiguous()
        quantised = _round_in_turn(w, factor[None], codebook)
    else:
        most = int(kept.sum(1).max())
        quantised = _in_chunks(partial(_round_kept, gram=gram, codebook=codebook), 4 * most**2, w, kept)
    return torch.empty_like(w).index_copy_(1, columns, quantised).view_as(weight).to(weight.dtype)


def _round_kept(w: Tensor, kept: Tensor, gram: Tensor, codebook: Tensor) -> Tensor:
    """Rounding of each row's kept columns, for which it has a factor of its own; the others are zero."""
    places, blocks = _supports(gram, kept)
    factors = _cholesky(blocks.flip(1, 2)).flip(1, 2).mT.contiguous()
    rounded = _round_in_turn(w.gather(1, places), factors, codebook)
    return torch.zeros_like(w).scatter(1, places, rounded)


def _round_in_turn(w: Tensor, factors: Tensor, codebook: Tensor) -> Tensor:
    """One column after the other to the nearest value; ``factors`` are A', (r or 1, k, k)."""
    edges = (codebook[1:] + codebook[:-1]) / 2
    rounded, errors = torch.empty_like(w), torch.zeros_like(w)
    for j in range(w.shape[1]):
        row = factors[:, j]
        fed = (errors[:, :j] * row[:, :j]).sum(1) / row[:, j]
        rounded[:, j] = codebook[torch.bucketize(w[:, j] + fed, edges)]
        errors[:, j] = w[:, j] - rounded[:, j]
    return rounded
