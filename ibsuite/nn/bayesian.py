"""A distribution over the weights of any network: one Gaussian for every weight and bias.

q = prod_i N(mean_i, std_i^2), std = softplus(rho): the mean-field posterior of Graves 2011 and Blundell
et al. 2015. Linear and convolution layers keep all that they are and gain scales; what is sent is priced by
``ibsuite.nn.priors``.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ibsuite.interface import Refusal
from ibsuite.seeds import generator

Sampling = Literal["weights", "local", "flipout"]
Center = Literal["zero", "initialisation"]

VARIANCE_FLOOR = 1e-10
"""Added to the variance of an output, whose square root would have no gradient at 0."""


class Gaussian(NamedTuple):
    """The posterior of one tensor."""

    mean: Tensor
    """Mean less the centre of the prior."""
    std: Tensor
    """Standard deviation, of the same shape."""


class GaussianOutput(torch.autograd.Function):
    """mean + sqrt(variance) * noise, with one product for a backward pass: a tenth of a step is saved."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor) -> Tensor:
        """One draw; d output / d variance = noise / (2 sqrt(variance)) is kept."""
        # Drawn flat: torch draws several times more slowly into channels-last memory.
        noise = torch.randn(variance.numel(), dtype=variance.dtype, device=variance.device)
        slope = variance.rsqrt().mul_(noise.as_strided(variance.shape, variance.stride())).mul_(0.5)
        ctx.save_for_backward(slope)
        return torch.addcmul(mean, slope, variance, value=2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients with respect to mean and variance."""
        (slope,) = ctx.saved_tensors
        return gradient, gradient * slope


class BayesianLayer(nn.Module):
    """What Bayesian layers share: scales beside the means, and outputs under sampled weights.

    ``weight`` and ``bias`` are the means, so that whatever initialises the plain layer initialises them.
    In training every application of the layer draws anew; in evaluation the means are used; within
    ``fixed_weights`` the weights fixed there.
    """

    weight: Tensor
    bias: Any
    weight_rho: nn.Parameter
    bias_rho: nn.Parameter | None
    sampling: Sampling
    fixed: tuple[Tensor, Tensor | None] | None
    positions: int
    """Trailing dimensions of inputs and outputs over which weights are shared."""

    def respond(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Output of the plain layer with these weights."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Output of the layer for fixed, mean or sampled weights."""
        if self.fixed is not None:
            return self.respond(x, *self.fixed)
        if not self.training:
            return self.respond(x, self.weight, self.bias)
        std = F.softplus(self.weight_rho)
        bias_std = None if self.bias_rho is None else F.softplus(self.bias_rho)
        if self.sampling == "local":
            return self._local(x, std, bias_std)
        noise = torch.randn_like(std) * std
        bias_noise = None if bias_std is None else torch.randn_like(bias_std) * bias_std
        if self.sampling == "flipout":
            return self._flipout(x, noise, bias_noise)
        bias = self.bias if self.bias is None or bias_noise is None else self.bias + bias_noise
        return self.respond(x, self.weight + noise, bias)

    def _local(self, x: Tensor, std: Tensor, bias_std: Tensor | None) -> Tensor:
        """Gaussian outputs of the right mean and variance (Kingma, Salimans & Welling 2015).

        In a convolution the positions of one map are drawn independently of each other.
        """
        mean = self.respond(x, self.weight, self.bias)
        variance = std.new_zeros(len(std)) if bias_std is None else bias_std.square()
        variance = self.respond(x.square(), std.square(), variance + VARIANCE_FLOOR)
        return GaussianOutput.apply(mean, variance)

    def _flipout(self, x: Tensor, noise: Tensor, bias_noise: Tensor | None) -> Tensor:
        """One draw of the weights whose signs change from sample to sample (Wen et al. 2018)."""
        mean = self.respond(x, self.weight, self.bias)
        flipped = self.respond(x * self._signs(x), noise, bias_noise)
        return torch.addcmul(mean, flipped, self._signs(mean))

    def _signs(self, x: Tensor) -> Tensor:
        """A random sign for every sample and channel of ``x``."""
        shape = x.shape[: x.ndim - self.positions] + (1,) * self.positions
        return x.new_empty(shape).bernoulli_(0.5).mul_(2).sub_(1)


class BayesianLinear(BayesianLayer, nn.Linear):
    """A linear layer of Gaussian weights."""

    positions = 0

    def respond(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``x`` times ``weight`` plus ``bias``."""
        return F.linear(x, weight, bias)


class BayesianConv2d(BayesianLayer, nn.Conv2d):
    """A convolution of Gaussian weights, with the stride, padding, dilation and groups that it had."""

    positions = 2

    def respond(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``x`` convolved with ``weight`` plus ``bias``."""
        return self._conv_forward(x, weight, bias)


TWINS: dict[type[nn.Module], type[BayesianLayer]] = {nn.Linear: BayesianLinear, nn.Conv2d: BayesianConv2d}


def make_bayesian(
    network: nn.Module, initial_std: float = 0.02, sampling: Sampling = "local", center: Center = "zero"
) -> None:
    """Give every weight and bias of ``network`` a Gaussian of its own, in place.

    Means are the network's present weights. Scales are further parameters, ``weight_rho`` and ``bias_rho``.

    Args:
        network: linear and convolution layers hold all its parameters. Layers change their class, as under
            ``torch.nn.utils.parametrize``, and keep parameters, hooks and memory format.
        initial_std: standard deviation of every weight at first.
        sampling: how a training step draws. ``weights``: one draw of each layer's weights; ``local``: outputs
            in place of weights, one draw for each; ``flipout``: one draw with signs changed for each sample.
            All give the same expectation; the latter two have gradients of less variance.
        center: what a prior is centred at: ``zero``, or the ``initialisation``, which whoever has the seed
            knows (``recenter`` follows a fresh one).

    Raises:
        Refusal: something else is learnt or kept, which nobody would pay for; or a weight has two places.
    """
    if not initial_std > 0:
        raise Refusal(f"initial_std must be positive, got {initial_std}")
    layers = [layer for layer in network.modules() if type(layer) in TWINS]
    ours = [p for layer in layers for p in layer.parameters(recurse=False)]
    priced = {id(p) for p in ours}
    norms = [name for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)]
    others = [name for name, p in network.named_parameters() if id(p) not in priced]
    if unpaid := norms or others or [name for name, _ in network.named_buffers()]:
        raise Refusal(
            f"{type(network).__name__} keeps {unpaid[0]!r}, which a posterior over the weights of linear and "
            "convolution layers does not pay for; use a network without batch norm, such as LeNet or MLP"
        )
    if not ours or len(priced) < len(ours):
        what = "shares weights between layers" if ours else "has no linear or convolution layer"
        raise Refusal(f"{type(network).__name__} {what}: every weight is sent once, by the layer it is in")
    rho = initial_std + math.log(-math.expm1(-initial_std))  # softplus(rho) = initial_std
    for layer in layers:
        layer.__class__ = TWINS[type(layer)]
        assert isinstance(layer, BayesianLayer)
        layer.sampling, layer.fixed = sampling, None
        layer.weight_rho = nn.Parameter(torch.full_like(layer.weight, rho))
        bias_rho = None if layer.bias is None else nn.Parameter(torch.full_like(layer.bias, rho))
        layer.register_parameter("bias_rho", bias_rho)
        if center == "initialisation":
            for name, parameter in _means(layer):
                layer.register_buffer(f"{name}_center", parameter.detach().clone())


def bayesian_layers(network: nn.Module) -> dict[str, BayesianLayer]:
    """Bayesian layers by name, in the order of the network."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, BayesianLayer)}


def _means(layer: BayesianLayer) -> Iterator[tuple[str, Tensor]]:
    yield "weight", layer.weight
    if layer.bias is not None:
        yield "bias", layer.bias


@torch.no_grad()
def recenter(network: nn.Module) -> None:
    """Centre the prior at the present means, where it is centred at an initialisation; after a fresh one."""
    for layer in bayesian_layers(network).values():
        for name, mean in _means(layer):
            center = getattr(layer, f"{name}_center", None)
            if center is not None:
                center.copy_(mean)


def posterior(network: nn.Module, exact: bool = False) -> dict[str, Gaussian]:
    """Mean and standard deviation of every tensor by name, each once; with gradients.

    Args:
        network: what ``make_bayesian`` has changed.
        exact: float64, on the CPU, for pricing.
    """
    found = {}
    for place, layer in bayesian_layers(network).items():
        for name, mean in _means(layer):
            rho, center = getattr(layer, f"{name}_rho"), getattr(layer, f"{name}_center", None)
            if exact:
                mean, rho = mean.detach().cpu().double(), rho.detach().cpu().double()
                center = None if center is None else center.cpu().double()
            key = f"{place}.{name}" if place else name
            found[key] = Gaussian(mean if center is None else mean - center, F.softplus(rho))
    return found


@torch.no_grad()
def set_means(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Make ``weights`` less their centres, named as by ``posterior``, the means."""
    for place, layer in bayesian_layers(network).items():
        for name, mean in _means(layer):
            weight, center = (
                weights[f"{place}.{name}" if place else name],
                getattr(layer, f"{name}_center", None),
            )
            mean.copy_(weight if center is None else center.cpu().double() + weight)


@contextmanager
def fixed_weights(network: nn.Module, seed: int | None) -> Iterator[None]:
    """Within it every layer uses one draw of its weights, or the means for ``None``.

    The draw is a function of the seed and the posterior alone: float64 on the CPU, keyed by
    (seed, layer, tensor), so that it is the same on every device and rank.
    """
    layers = list(bayesian_layers(network).values())
    before = [layer.fixed for layer in layers]
    try:
        for index, layer in enumerate(layers):
            layer.fixed = (layer.weight, layer.bias) if seed is None else _draw(layer, seed, index)
        yield
    finally:
        for layer, fixed in zip(layers, before, strict=True):
            layer.fixed = fixed


@torch.no_grad()
def _draw(layer: BayesianLayer, seed: int, index: int) -> tuple[Tensor, Tensor | None]:
    drawn = []
    for part, (name, mean) in enumerate(_means(layer)):
        std = F.softplus(getattr(layer, f"{name}_rho").cpu().double())
        noise = torch.randn(mean.shape, generator=generator(seed, index, part), dtype=torch.float64)
        drawn.append(torch.empty_like(mean).copy_(mean.cpu().double() + std * noise))
    return drawn[0], (drawn[1] if len(drawn) > 1 else None)
