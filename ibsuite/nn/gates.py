"""Multiplicative Gaussian gates, and where in a network they may stand."""

import torch
from torch import Tensor, nn

from ibsuite.interface import Refusal
from ibsuite.nn.chain import (
    INPUT,
    PASSING,
    WEIGHTED,
    Layers,
    Scale,
    Select,
    inputs,
    units_behind,
)

INITIAL_LOG_VARIANCE, INITIAL_SPREAD = -9.0, 0.01
FLOOR = 1e-8
"""Added to variances and to squared means, which may become 0."""


class InformationGate(nn.Module):
    """Gaussian noise that multiplies every unit, and the information that it lets pass, nats a sample.

    h = z * f with z = mu + eps sigma, eps ~ N(0, 1): one draw for each sample and each unit, the same at
    all positions of a map. So p(h | f) = N(f mu, f^2 sigma^2). With the marginal q(h) = N(0, xi) ::

        E_f KL(p(h | f) || q(h)) = 1/2 E_f [ log(xi / (f^2 sigma^2)) + f^2 (mu^2 + sigma^2) / xi - 1 ]
        is least for xi = (mu^2 + sigma^2) E f^2, and is then
                                 = 1/2 [ log(1 + mu^2 / sigma^2) + psi ],    psi = log E f^2 - E log f^2

    What is charged is the first term, summed over the units. psi, which is not negative, is dropped, as in
    the paper: it depends on the layers before the gate but not on mu and sigma, and it is infinite as soon as
    f is 0 now and then, as behind every ReLU. (``ibsuite.information`` has a finite bound with a marginal
    that knows of the zeros.) The sum is a rate: bits that flow for each sample. It is not divided by the
    number of samples, as the divergence of weights, sent once, would be.

    With alpha = sigma^2 / mu^2 the rate of a unit is 1/2 log(1 + 1 / alpha): a unit of large alpha is noise.
    In evaluation z = mu where log alpha is below the threshold, and 0 otherwise: units of z = 0 can
    be removed.

    Source: Dai et al. 2018 (VIBNet), the objective after "parametric forms"; initial values and the threshold
    are those of the authors' program.

    Args:
        units: features, or channels of maps.
        threshold: log alpha from which on a unit is removed; 0: it has more noise than signal.
    """

    def __init__(self, units: int, threshold: float = 0.0) -> None:
        super().__init__()
        self.units, self.threshold = units, threshold
        self.mu = nn.Parameter(torch.empty(units))
        self.log_variance = nn.Parameter(torch.empty(units))
        self.positions = 1
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gates that are all but open, from torch's global generator."""
        nn.init.normal_(self.mu, 1.0, INITIAL_SPREAD)
        nn.init.normal_(self.log_variance, INITIAL_LOG_VARIANCE, INITIAL_SPREAD)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times its gates, (n, units, ...); sampled in training."""
        self.positions = x.shape[2:].numel()
        z = self.noisy(len(x)) if self.training else self.scales()[None]
        return gated(x, z)

    def noisy(self, samples: int) -> Tensor:
        """Factors mu + eps sigma, (samples, units)."""
        eps = torch.randn(samples, self.units, device=self.mu.device, dtype=self.mu.dtype)
        return torch.addcmul(self.mu, eps, (0.5 * self.log_variance).exp())

    def rate_nats(self) -> Tensor:
        """Positions times the sum of 1/2 log(1 + mu^2 / sigma^2) over the units, nats a sample.

        The positions are those of the last ``x``: a map of H x W positions counts H W times, as in the
        authors' program, so that a large map is an expensive one.
        """
        signal_to_noise = self.mu.square() / (self.log_variance.exp() + FLOOR)
        return 0.5 * self.positions * signal_to_noise.log1p().sum()

    @torch.no_grad()
    def log_alpha(self) -> Tensor:
        """log(sigma^2 / mu^2), (units,)."""
        return self.log_variance - (self.mu.square() + FLOOR).log()

    def kept(self) -> Tensor:
        """Which units are left in evaluation, (units,), bool."""
        return self.log_alpha() < self.threshold

    @torch.no_grad()
    def scales(self) -> Tensor:
        """Means of the units that are left, 0 for the others, (units,)."""
        return self.mu * self.kept()


def gated(x: Tensor, z: Tensor) -> Tensor:
    """Units of ``x``, (n, units, ...), times their factors ``z``, (n or 1, units)."""
    return x * z.view(*z.shape, *(1,) * (x.ndim - 2))


def gate_places(layers: Layers) -> list[str]:
    """Where gates stand unless told otherwise.

    Behind the batch norm and activation of every hidden layer, and behind every flattening of more than one
    position a channel: flattened inputs and flattened maps have features that nobody may need.
    """
    places, counts, hidden = [], units_behind(layers), False
    for i, (name, layer) in enumerate(layers):
        between = _before_weights(layers[i + 1 :])
        if between is None:
            break
        changes = isinstance(layer, nn.Flatten) and counts[i] != (counts[i - 1] if i else None)
        hidden = hidden or changes or isinstance(layer, WEIGHTED)
        last = all(isinstance(later, PASSING) for later in between)
        if last and (changes or (hidden and not isinstance(layer, PASSING))):
            places.append(name)
    return places


def _before_weights(layers: Layers) -> list[nn.Module] | None:
    """The layers in front of the first that has weights; None where none has."""
    weighted = (i for i, (_, layer) in enumerate(layers) if isinstance(layer, WEIGHTED))
    end = next(weighted, None)
    return None if end is None else [layer for _, layer in layers[:end]]


def gate_units(layers: Layers, place: str) -> int:
    """Number of units that a gate behind the layer ``place`` has; ``input``: in front of the first layer.

    Raises:
        Refusal: there is no such place, or a unit of it could not be removed without a trace.
    """
    if any(isinstance(layer, Select | Scale) for _, layer in layers):
        raise Refusal("units of this network have been removed already: start from the full network")
    names = [INPUT, *(name for name, _ in layers)]
    if place not in names:
        raise Refusal(
            f"model.gates names {place!r}, and there is no such layer; usual places are {gate_places(layers)}"
        )
    start = names.index(place)
    between = _before_weights(layers[start:])
    if between is None:
        raise Refusal(f"a gate at {place!r} would remove classes: put it in front of the last layer")
    for layer in between:
        if not isinstance(layer, PASSING):
            raise Refusal(
                f"a gate at {place!r} would stand in front of {layer}: put it behind the batch norm and the "
                f"activation; usual places are {gate_places(layers)}"
            )
    units = units_behind(layers)[start - 1] if start else None
    if units is None and not any(isinstance(layer, nn.Flatten) for _, layer in layers[:start]):
        first = next(i for i, (_, layer) in enumerate(layers) if isinstance(layer, WEIGHTED))
        flat = next((name for name, layer in layers[:first] if isinstance(layer, nn.Flatten)), None)
        if flat is not None and start <= first:
            raise Refusal(f"the input is flattened by {flat!r}: put the gate there, not at {place!r}")
        units = inputs(layers[first][1])
    if units is None:
        raise Refusal(f"nobody knows how many units there are at {place!r}; choose another place")
    return units
