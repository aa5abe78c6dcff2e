"""A network that classifies a random representation: a Gaussian for each input, and a linear decoder."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.interface import Refusal
from ibsuite.nn.initial import draw_layers
from ibsuite.nn.mlp import MLP
from ibsuite.seeds import generator

LOG_2PI = math.log(2 * math.pi)
SHIFT = 5.0
"""Scales are softplus(rho - 5): a new encoder is all but deterministic."""
LINEAR = -15.0
"""Below it softplus(x) is e^x to float32."""
NOISE = 3001
"""Key of the draws in evaluation."""
Covariance = Literal["diagonal", "full", "shared", "identity"]


class Encoding(NamedTuple):
    """p(z|x) = N(mean, S S') for each input of a batch."""

    mean: Tensor
    """(n, K)."""
    scale: Tensor
    """S: standard deviations, (n, K), or a Cholesky factor, (n, K, K)."""
    log_diagonal: Tensor
    """Logarithm of the diagonal of S, (n, K)."""

    def sample(self, noise: Tensor) -> Tensor:
        """Z = mean + S noise, (..., n or 1, K) -> (..., n, K)."""
        if self.scale.ndim == self.mean.ndim:
            return self.mean + self.scale * noise
        return self.mean + (self.scale @ noise[..., None])[..., 0]

    def kl_to_standard_normal_nats(self) -> Tensor:
        """KL(p(z|x) || N(0, I)) = 1/2 (|mean|^2 + |S|^2 - K) - sum log S_jj for each input, (n,)."""
        squares = self.mean.square().sum(1) + self.scale.flatten(1).square().sum(1)
        return 0.5 * (squares - self.mean.shape[1]) - self.log_diagonal.sum(1)

    def kl_to_normal_nats(self, means: Tensor, log_stds: Tensor) -> Tensor:
        """KL(p(z|x) || N(m, diag s^2)) for each input, with m and log s of its own, (n, K) -> (n,)."""
        factors = (-log_stds).exp()
        scale = self.scale * (factors if self.scale.ndim == self.mean.ndim else factors[..., None])
        log_diagonal = self.log_diagonal - log_stds
        return Encoding((self.mean - means) * factors, scale, log_diagonal).kl_to_standard_normal_nats()


class GaussianMixture(nn.Module):
    """r(z): a mixture of Gaussians with diagonal covariances, all of it learnt.

    Args:
        components: how many Gaussians.
        dimension: K.
    """

    def __init__(self, components: int, dimension: int) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.empty(components))
        self.means = nn.Parameter(torch.empty(components, dimension))
        self.log_stds = nn.Parameter(torch.empty(components, dimension))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Equal weights, standard deviations of 1, means from torch's global generator."""
        nn.init.zeros_(self.log_weights)
        nn.init.normal_(self.means)
        nn.init.zeros_(self.log_stds)

    def log_density(self, z: Tensor) -> Tensor:
        """Log r(z), nats, (..., K) -> (...)."""
        return torch.logsumexp(self.log_densities(z) + self.log_weights.log_softmax(0), -1)

    def log_densities(self, z: Tensor) -> Tensor:
        """Log density of each Gaussian, without its weight, nats, (..., K) -> (..., components)."""
        deviations = (z[..., None, :] - self.means) * (-self.log_stds).exp()
        return -0.5 * (deviations.square() + LOG_2PI).sum(-1) - self.log_stds.sum(-1)


class Bottleneck(nn.Module):
    """Stochastic bottleneck of any encoder: z ~ p(z|x) = N(mean(x), S(x) S(x)'), then a linear softmax.

    ::

        x ─ encoder ─ mean, rho ─ z = mean + softplus(rho - 5) noise ─ linear ─ logits

    In training every input gets noise of its own at every call. In evaluation the logits are
    log 1/S sum_s q(y | z_s) over ``draws`` fixed vectors of noise. They are the same for every input and on
    every machine, so that what is said of one input does not depend on those beside it.

    Source: Alemi, Fischer, Dillon & Murphy 2017 (Deep VIB), section 4; scales as in the authors' program.

    Args:
        input_shape: Shape of one input, without the batch.
        num_classes: Number of classes.
        dimension: K, size of the representation z.
        encoder: A network class with its settings, without input shape and number of outputs: it gives 2K
            numbers, K + K (K + 1) / 2 where the covariance is full, or K where it does not depend on x.
        covariance: ``diagonal``, or ``full`` for a small K; both depend on x. ``shared``: standard
            deviations that are learnt and the same for every x, 1 at the beginning; ``identity``: all 1.
        components: Gaussians in a learnt marginal r(z); 0: r(z) = N(0, I). No prediction needs them, and
            no code sends them.
        draws: Vectors of noise in evaluation.
    """

    training_only = ("marginal",)
    noise: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        dimension: int = 256,
        encoder: Callable[[tuple[int, ...], int], nn.Module] = MLP,
        covariance: Covariance = "diagonal",
        components: int = 0,
        draws: int = 12,
    ) -> None:
        super().__init__()
        if dimension < 1 or draws < 1 or components < 0:
            raise Refusal(
                "model.network.dimension and model.network.draws must be 1 or more and "
                f"model.network.components 0 or more; got {dimension}, {draws} and {components}"
            )
        if covariance not in get_args(Covariance):
            known = ", ".join(get_args(Covariance))
            raise Refusal(f"model.network.covariance must be one of {known}; got {covariance!r}")
        self.dimension, self.covariance = dimension, covariance
        below = dimension * (dimension - 1) // 2 if covariance == "full" else 0
        outputs = dimension if covariance in ("shared", "identity") else 2 * dimension + below
        self.encoder = encoder(tuple(input_shape), outputs)
        self.log_std = nn.Parameter(torch.empty(dimension)) if covariance == "shared" else None
        self.decoder = nn.Linear(dimension, num_classes)
        self.marginal = GaussianMixture(components, dimension) if components else None
        # Float64 from the CPU, and one key for each draw: the first draws are the same however many follow.
        where: Any = {"dtype": torch.float64, "device": "cpu"}
        drawn = [torch.randn(dimension, generator=generator(NOISE, draw), **where) for draw in range(draws)]
        self.register_buffer(
            "noise", torch.stack(drawn).float().to(self.decoder.weight.device), persistent=False
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        for part in filter(None, (self.encoder, self.decoder, self.marginal)):
            own = getattr(part, "reset_parameters", None)
            draw_layers(part) if own is None or part is self.decoder else own()
        if self.log_std is not None:
            nn.init.zeros_(self.log_std)

    def encode(self, x: Tensor) -> Encoding:
        """p(z|x) of a batch, (n, *input_shape)."""
        if self.covariance in ("shared", "identity"):
            mean = self.encoder(x)
            log_std = torch.zeros_like(mean[0]) if self.log_std is None else self.log_std
            return Encoding(mean, log_std.exp().expand_as(mean), log_std.expand_as(mean))
        k = self.dimension
        mean, rho, below = self.encoder(x).tensor_split((k, 2 * k), 1)
        rho = rho - SHIFT
        diagonal = F.softplus(rho)
        # The logarithm stays finite where the scale underflows.
        log_diagonal = torch.where(rho < LINEAR, rho, F.softplus(rho.clamp(min=LINEAR)).log())
        if self.covariance == "diagonal":
            return Encoding(mean, diagonal, log_diagonal)
        scale = torch.diag_embed(diagonal)
        rows, columns = torch.tril_indices(k, k, -1, device=x.device)
        scale[:, rows, columns] = below
        return Encoding(mean, scale, log_diagonal)

    def rate_nats(self, encoding: Encoding, noise: Tensor) -> Tensor:
        """KL(p(z|x) || r(z)) for each input, nats, (n,).

        In closed form where r is standard normal. Under a mixture

            KL(p || r) = KL(p || N(0, I)) + E_p[log N(z; 0, I) - log r(z)]

        and the last term is a mean over draws: an estimate without bias.

        Args:
            encoding: p(z|x).
            noise: of the draws, (draws, n or 1, K).
        """
        rate = encoding.kl_to_standard_normal_nats()
        if self.marginal is None:
            return rate
        differences = []
        for each in noise:  # one at a time: a mixture holds a number for each of its components
            z = encoding.sample(each)
            standard = -0.5 * (z.square() + LOG_2PI).sum(-1)
            differences.append(standard - self.marginal.log_density(z))
        return rate + torch.stack(differences).mean(0)

    def draw_logits(self, encoding: Encoding) -> Tensor:
        """Logits under each of the fixed draws, (draws, n, num_classes)."""
        logits: Tensor = self.decoder(encoding.sample(self.noise[:, None]))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, *input_shape) -> (n, num_classes): of one fresh draw, or the mean over fixed ones."""
        encoding = self.encode(x)
        if self.training:
            logits: Tensor = self.decoder(encoding.sample(torch.randn_like(encoding.mean)))
            return logits
        return mean_prediction(self.draw_logits(encoding))


def mean_prediction(draw_logits: Tensor) -> Tensor:
    """Log of the mean over draws of softmax, nats, (draws, n, classes) -> (n, classes)."""
    return torch.logsumexp(draw_logits.log_softmax(-1), 0) - math.log(len(draw_logits))
