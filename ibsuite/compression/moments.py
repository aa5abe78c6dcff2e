"""Moments of the derivatives of single samples by every weight: what weight importance is made of.

They are the same for any batch size: squares are taken of the derivatives of single samples, never of their
mean over a batch.
"""

import math
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ibsuite.compression.curvature import (
    check_piecewise_linear,
    check_propagation,
    gradient_factor,
    hutchinson,
    model_factors,
    propagate,
)
from ibsuite.compression.tape import (
    Factors,
    PowerSums,
    Tape,
    check_graph,
    find_layers,
    frozen_state,
    power_sums,
)
from ibsuite.interface import LabelledInputs

Moment = Literal["gradient_square", "regression", "unsupervised", "curvature", "curvature_square"]
Curvature = Literal["exact", "propagation", "hutchinson"]
KEPT_FACTORS = 2**27
"""Numbers in the factors at maps that are kept for one batch; larger batches are cut."""


class Moments(NamedTuple):
    """Means over samples, by the names of the parameters, in the parameters' shapes, float64, on the CPU.

    L is a sample's cross entropy at temperature T in nats, z its logits, f = softmax(z / T). A moment that
    was not asked for is None.
    """

    shapes: dict[str, torch.Size]
    """Of the weights and biases of all linear and convolution layers."""
    num_samples: int
    probes: int
    """Random probes for each sample; 0 where nothing is random."""
    gradient_square: dict[str, Tensor] | None = None
    """E[(dL/dw)^2]."""
    regression: dict[str, Tensor] | None = None
    """E[sum_c (dz_c/dw)^2]: eq. 5 with the logits as outputs."""
    unsupervised: dict[str, Tensor] | None = None
    """E[sum_c (df_c/dw)^2 / f_c]: eq. 6."""
    curvature: dict[str, Tensor] | None = None
    """E[h], h = d^2 L / dw^2."""
    curvature_square: dict[str, Tensor] | None = None
    """E[h^2]; from probes an unbiased estimate, which may be negative."""
    curvature_error: float = 0.0
    """Standard error of E[h] by the probes, its norm relative to that of E[h]; 0: exact; inf: noise alone."""


def weight_moments(
    module: nn.Module,
    data: LabelledInputs,
    rows: Tensor,
    temperature: float = 1.0,
    batch_size: int = 500,
    moments: Collection[Moment] = get_args(Moment),
    curvature: Curvature = "exact",
    probes: int = 2,
    seed: int = 0,
) -> Moments:
    """Moments over samples of the derivatives by every weight and bias of linear and convolution layers.

    Time is linear in the samples: one backward pass for ``gradient_square``, C (classes) for each of
    ``regression`` and ``unsupervised``; exact curvature shares those of ``unsupervised``. No parameter,
    gradient, buffer or mode is changed.

    How the Hessian's diagonal h is found:

    - ``exact``: where logits are piecewise linear in every weight (ReLU, max pooling, batch normalisation in
      evaluation mode and the like), h = sum_c f_c (J_c - Jbar)^2 with J = dz/dw / T, Jbar = sum_c f_c J_c: no
      label is needed, E[h] is eq. 6, and E[h^2] comes from the same C passes.
    - ``propagation``: curvature propagation (Martens et al. 2012), also through smooth activations that are
      modules of torch.nn; one backward pass for each probe, two where there are such activations.
    - ``hutchinson``: v (H v) for random signs v, for every network that can be differentiated twice; noisier,
      and slower by far.

    E[h^2] is estimated from products of different probes of a sample: the square of one would be too large.
    Signs are drawn by seed, number of the probe and position of the sample, so that neither batches nor the
    order of ``rows`` change them.

    Args:
        module: has ``logits`` (``interface.Classifier``); it is read in evaluation mode.
        data: gives inputs and labels; inputs are cast to the type of the weights.
        rows: positions of the samples to be used, (n,).
        temperature: T > 0; softmax of z / T everywhere but in ``regression``.
        batch_size: samples at a time; fewer where the factors at large maps would fill the memory.
        moments: which to compute; nothing of ``data`` is looked at where there are none.
        curvature: how h is found.
        probes: for each sample, 2 or more; not used by ``exact``.
        seed: of the probes.

    Raises:
        ValueError: labels are needed and missing; logits or moments are not finite; logits are random or
            depend on the batch; the network has layers of which derivatives cannot be made in this way;
            ``exact`` was asked for and it is not piecewise linear; an argument is out of range.

    Source: Gao et al. 2019 (arXiv 1810.06401), eqs. 5 and 6, section 6.2.
    """
    wanted = set(moments)
    curved = bool(wanted & {"curvature", "curvature_square"})
    random = curved and curvature != "exact"
    _check(wanted, temperature, batch_size, curvature, probes if random else 2)
    layers = find_layers(module)
    shapes = {
        f"{name}.{kind}": tensor.shape
        for name, layer in layers.items()
        for kind, tensor in layer.named_parameters(recurse=False)
    }
    if not wanted:
        return Moments(shapes, 0, 0)
    if not len(rows):
        raise ValueError("There are no samples to take means over; give at least one row.")
    weight = next(iter(layers.values())).weight
    needs_labels = random or "gradient_square" in wanted

    def inputs(some: Tensor) -> Tensor:
        return data.inputs(some, weight.device).to(weight.dtype)

    held: dict[str, dict[str, PowerSums]] = {}
    with frozen_state(module, layers):
        tape = Tape(module, layers, inputs(rows[:1]))
        if curved and not random:
            check_piecewise_linear(tape, layers)
        elif curved and curvature == "propagation":
            check_propagation(tape, layers)
        else:
            check_graph(tape, layers)
        classes = tape.logits.shape[1]
        labels = _labels(data, rows, classes) if needs_labels else torch.zeros(len(rows), dtype=torch.int64)
        kept = max(classes, 2 * probes) * sum(each.size for each in tape.layers.values())
        for some in torch.arange(len(rows)).split(max(1, min(batch_size, KEPT_FACTORS // kept))):
            x, y = inputs(rows[some]), labels[some].to(weight.device)
            tape = Tape(module, layers, x)
            if int(some[0]) == 0:
                _check_alone(module, x, tape.logits.detach())
            p = (tape.logits.detach().double() / temperature).softmax(1)
            found = _carried(tape, p, y, temperature, wanted, curved and not random)
            if random and curvature == "propagation":
                carried = propagate(tape, p, y, rows[some], temperature, probes, seed)
                found = chain(found, _sums("probes", tape, carried, square=True))
            if random and curvature == "hutchinson":
                products = hutchinson(module, list(shapes), x, y, rows[some], temperature, probes, seed)
                found = chain(found, (("probes", *each) for each in products))
            for source, name, sums in found:
                _add(held, source, name, sums)
    return _finish(held, shapes, len(rows), wanted, probes if random else 0)


def _check_alone(module: nn.Module, x: Tensor, logits: Tensor) -> None:
    """Refuse logits that are random or depend on the batch: ends of the batch by themselves tell."""
    for place in {0, len(x) - 1}:
        with torch.no_grad():
            alone = module.logits(x[place : place + 1])[0]  # type: ignore[operator]
        if not torch.allclose(alone, logits[place], rtol=1e-3, atol=1e-3):
            raise ValueError(
                "The logits of a sample are random, or depend on what else is in its batch; make them a "
                "function of the sample alone."
            )


Found = Iterator[tuple[str, str, PowerSums]]


def _add(held: dict[str, dict[str, PowerSums]], source: str, name: str, sums: PowerSums) -> None:
    before = held.setdefault(source, {}).get(name)
    held[source][name] = sums if before is None else before.plus(sums)


def _carried(
    tape: Tape, p: Tensor, y: Tensor, temperature: float, wanted: set[Moment], curved: bool
) -> Found:
    """Sums over a batch for all moments that need no probes, by source and parameter."""
    if "gradient_square" in wanted:
        slope = tape.carry(gradient_factor(p, y, temperature))
        yield from _sums("gradient", tape, [[(1.0, slope)]])
    if "regression" in wanted:
        units = torch.eye(p.shape[1], device=p.device).expand(len(p), -1, -1).unbind(1)
        yield from _sums("outputs", tape, [[(1.0, tape.carry(unit)) for unit in units]])
    if "unsupervised" in wanted or curved:
        factors = [(1.0, tape.carry(s)) for s in model_factors(p, temperature)]
        yield from _sums("model", tape, [factors], square=curved and "curvature_square" in wanted)


def _sums(
    source: str, tape: Tape, estimates: list[list[tuple[float, Factors]]], square: bool = False
) -> Found:
    """Sums over a batch from signed factors at the outputs of all layers, layer by layer."""
    for at, (name, used) in enumerate(tape.layers.items()):
        here = [
            [(sign, reached) for sign, factors in each if (reached := factors[at]) is not None]
            for each in estimates
        ]
        if any(here):
            for kind, sums in power_sums(used, here, square):
                yield source, f"{name}.{kind}", sums


def _finish(
    held: dict[str, dict[str, PowerSums]],
    shapes: dict[str, torch.Size],
    n: int,
    wanted: set[Moment],
    probes: int,
) -> Moments:
    """Means from sums over all samples."""

    def mean(moment: Moment, source: str, of: Callable[[PowerSums], Tensor]) -> dict[str, Tensor] | None:
        if moment not in wanted:
            return None
        sums = held.get(source, {})
        # Where there is no sum, the logits do not depend on the parameter.
        means = {
            name: of(sums[name]).cpu() / n if name in sums else zeros(shape) for name, shape in shapes.items()
        }
        for name, each in means.items():
            if not each.isfinite().all():
                raise ValueError(
                    f"{moment} of {name!r} is not finite; its derivatives are too large or undefined."
                )
        return means

    pairs = probes * (probes - 1)
    return Moments(
        shapes,
        n,
        probes,
        gradient_square=mean("gradient_square", "gradient", lambda sums: sums.first),
        regression=mean("regression", "outputs", lambda sums: sums.first),
        unsupervised=mean("unsupervised", "model", lambda sums: sums.first),
        curvature=mean("curvature", "probes", lambda sums: sums.first / probes)
        if probes
        else mean("curvature", "model", lambda sums: sums.first),
        curvature_square=mean(
            "curvature_square", "probes", lambda sums: (sums.total_square - sums.squares) / pairs
        )
        if probes
        else mean("curvature_square", "model", lambda sums: sums.total_square),
        curvature_error=_relative_error(held["probes"], probes) if probes else 0.0,
    )


def zeros(shape: torch.Size) -> Tensor:
    """What a parameter has that nothing depends on, float64."""
    return torch.zeros(shape, dtype=torch.float64)


def _relative_error(held: dict[str, PowerSums], probes: int) -> float:
    """Norm of the standard errors of E[h] over that of E[h], from the spread of each sample's probes."""
    spread = sum(float((each.squares - each.total_square / probes).sum()) for each in held.values())
    # Of a mean over so many probes, each with the variance spread / (probes - 1) summed over samples.
    variance = max(spread, 0.0) / (probes * (probes - 1))
    square = sum(float((each.first / probes).square().sum()) for each in held.values())
    # What was found is longer than E[h] by its own noise.
    if variance and square <= variance:
        return math.inf
    return math.sqrt(variance / (square - variance)) if variance else 0.0


def _labels(data: LabelledInputs, rows: Tensor, classes: int) -> Tensor:
    labels: Tensor | None = getattr(data, "labels", None)
    if labels is None:
        raise ValueError(
            "These moments need labels and the data have none; ask for regression, unsupervised or exact "
            "curvature."
        )
    chosen = labels[rows]
    if not 0 <= int(chosen.min()) <= int(chosen.max()) < classes:
        raise ValueError(
            f"Labels must lie from 0 to {classes - 1}; give every sample one of the network's classes."
        )
    return chosen


def _check(
    wanted: set[Moment], temperature: float, batch_size: int, curvature: Curvature, probes: int
) -> None:
    for value, known in [*((each, Moment) for each in wanted), (curvature, Curvature)]:
        if value not in get_args(known):
            raise ValueError(f"{value!r} is not one of {', '.join(get_args(known))}.")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if probes < 2:
        raise ValueError(
            f"Two probes of a sample at least tell an estimate's error and its square; got {probes}."
        )
