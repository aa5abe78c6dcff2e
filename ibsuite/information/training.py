"""A critic trained on samples, and what it then says about samples that it has not seen."""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ibsuite.information.bounds import NWJ, SMILE, Bound, BoundValue, DonskerVaradhan, InfoNCE, Mine
from ibsuite.information.critics import JointCritic, off_diagonal, scores
from ibsuite.information.estimates import Estimate, Kind
from ibsuite.information.samples import paired, split
from ibsuite.seeds import derive_seed, generator
from ibsuite.units import nats_to_bits

BOUNDS = {"dv": DonskerVaradhan, "mine": Mine, "nwj": NWJ, "infonce": InfoNCE, "smile": SMILE}
"""Bounds by the names that a command takes."""
DIVERGED = 1e4
"""No objective of so many nats, or of less than so many below zero, is on its way back."""
ADVICE = "lower learning_rate, or take bound infonce or smile"


class TrainedCritic(NamedTuple):
    """A critic and its two readings of the same samples."""

    estimate: Estimate
    """By the bound that it was trained with."""
    lower: Estimate
    """By a lower bound: its own, or else NWJ with the log-mean-exp of the training samples as baseline."""
    critic: nn.Module
    """The network, as it was when the validation part was best."""
    steps: int
    """Steps until then."""


def train_critic(
    x: Tensor,
    y: Tensor,
    bound: str | Bound = "smile",
    critic: nn.Module | None = None,
    seed: int = 0,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    max_steps: int = 2000,
    check_every: int = 50,
    patience: int = 8,
    evaluate: int = 500,
    standardise: bool = True,
) -> TrainedCritic:
    """Estimate I(X; Y) with a critic; train and held-out value together, bits.

    The samples fall in three parts by the seed: the critic climbs on the first, the second says which of its
    states is best and when to stop, the third is read once. Pairs from the marginals are all pairs of
    different samples, in a batch and in each reading.

    Args:
        x: (n, ...).
        y: (n, ...).
        bound: ``dv``, ``mine``, ``nwj``, ``infonce``, ``smile``, or one of your own.
        critic: scores every x with every y; a ``JointCritic`` of the samples' sizes if None. It is trained as
            it stands, in place.
        seed: of the split, of the critic's start and of the batches.
        batch_size: samples a step.
        learning_rate: of Adam.
        max_steps: at most.
        check_every: steps between two looks at the validation part; there is one after the last step as well.
        patience: looks without a gain until it stops.
        evaluate: samples of each part that are read at most; their squares are the pairs.
        standardise: bring every coordinate to mean 0 and variance 1 on the first part. False where the critic
            wants the samples as they are, in their own shape: one that holds a part of a network.

    Raises:
        ValueError: the bound is unknown, or the samples do not match or are too few.
    """
    a, b = (each.float() for each in paired(x, y))
    parts = split(len(a), seed)
    chosen = _bound(bound)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, 0))
        network = JointCritic(a.shape[1], b.shape[1]).to(a.device) if critic is None else critic
    if standardise:  # coordinates of very different sizes are hard to learn from; the information stays
        a, b = (_standardised(each, parts.fit) for each in (a, b))
    else:
        a, b = x.detach().float(), y.detach().float()
    validation, reached, wrong = parts.validation[:evaluate], 0, None
    best, kept, waited = -math.inf, copy.deepcopy(network.state_dict()), 0
    optimizer, draws = torch.optim.Adam(network.parameters(), lr=learning_rate), generator(seed, 1)
    for step in range(1, max_steps + 1):
        rows = parts.fit[torch.randperm(len(parts.fit), generator=draws)[:batch_size]]
        objective = apply(chosen, network(a[rows], b[rows])).objective
        optimizer.zero_grad()
        (-objective).backward()
        optimizer.step()
        climbed = float(objective.detach())
        if not abs(climbed) < DIVERGED:
            wrong = f"the critic diverged at step {step} ({climbed:.3g} nats): {ADVICE}"
            break
        if step % check_every == 0 or step == max_steps:
            with torch.no_grad():
                value = apply(chosen, scores(network, a[validation], b[validation])).value
            if value > best:
                best, kept, waited, reached = value, copy.deepcopy(network.state_dict()), 0, step
            elif (waited := waited + 1) >= patience:
                break
    network.load_state_dict(kept)
    network.eval()
    read = [rows[:evaluate] for rows in (parts.fit, parts.heldout)]
    matrices = [scores(network, a[rows], b[rows]) for rows in read]
    pairs = off_diagonal(matrices[0]).double()
    baseline = float(pairs.logsumexp(0)) - math.log(len(pairs))
    estimate = read_scores(chosen, matrices, wrong)
    lower = estimate if chosen.kind is Kind.LOWER else read_scores(NWJ(baseline), matrices, wrong)
    return TrainedCritic(estimate, lower, network, reached)


def _standardised(samples: Tensor, fit: Tensor) -> Tensor:
    """Mean 0 and variance 1 on the rows of a fit; a coordinate that does not vary there keeps its scale."""
    std = samples[fit].std(0)
    return (samples - samples[fit].mean(0)) / torch.where(std > 1e-6, std, 1.0)


def _bound(bound: str | Bound) -> Bound:
    if not isinstance(bound, str):
        return bound
    if bound not in BOUNDS:
        raise ValueError(f"unknown bound {bound!r}: one of {', '.join(BOUNDS)}")
    made: Bound = BOUNDS[bound]()
    return made


def apply(bound: Bound, matrix: Tensor) -> BoundValue:
    """A bound on the scores of every x with every y, the joint pairs on the diagonal.

    Args:
        bound: any; InfoNCE takes all scores as candidates, the others those off the diagonal as pairs.
        matrix: scores f(x_i, y_j), (n, n).

    Raises:
        ValueError: the matrix is not square, or there is one sample only.
    """
    off = off_diagonal(matrix)
    return bound(matrix.diagonal(), matrix if isinstance(bound, InfoNCE) else off)


def read_scores(bound: Bound, matrices: Sequence[Tensor], wrong: str | None = None) -> Estimate:
    """Train and held-out value of a critic, and the standard error of the latter, bits.

    Args:
        bound: what the scores are read by.
        matrices: scores f(x_i, y_j) of samples that the critic was trained on, and of others; (n, n), (m, m).
        wrong: what went wrong in the training.
    """
    with torch.no_grad():
        train, heldout = (apply(bound, each) for each in matrices)
    if wrong is None and not math.isfinite(heldout.value):
        wrong = f"the held-out value is {heldout.value}: {ADVICE}"
    return Estimate(
        bound.kind,
        nats_to_bits(train.value),
        nats_to_bits(heldout.value),
        nats_to_bits(heldout.ceiling),
        heldout.marginal_pairs,
        None if wrong else nats_to_bits(_standard_error(bound, matrices[1])),
        wrong,
    )


def _standard_error(bound: Bound, matrix: Tensor) -> float:
    """By leaving out blocks of samples: the jackknife over ten of them, nats."""
    rows, values = torch.arange(len(matrix)), []
    with torch.no_grad():
        for block in rows.tensor_split(min(10, len(matrix) // 2)):
            others = rows[~torch.isin(rows, block)]
            values.append(apply(bound, matrix[others][:, others]).value)
    spread = torch.tensor(values, dtype=torch.float64)
    return float((len(values) - 1) / math.sqrt(len(values)) * spread.std(correction=0))
