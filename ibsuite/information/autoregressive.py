"""A small density model: each coordinate a mixture of logistics given those before it, and given x."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ibsuite.information.samples import Parts
from ibsuite.seeds import derive_seed, generator

COMPONENTS = 4
HIDDEN = 96


class Autoregressive(nn.Module):
    """log p(y | x) = sum_i log sum_k w_k logistic(y_i; m_k, s_k), with w, m, s functions of y_<i and x.

    One masked hidden layer, and a masked linear map beside it for the means, which can begin as the linear
    regression.

    Args:
        size: coordinates of y.
        given: coordinates of x, 0 for a marginal density.
        hidden: units of the hidden layer.

    Source: Germain et al. 2015 (masked autoencoder for distribution estimation); mixture of logistics as in
    Salimans et al. 2017, for continuous values.
    """

    def __init__(self, size: int, given: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.size = size
        degree = torch.arange(hidden) % size  # a unit of degree k sees the first k coordinates
        seen = torch.arange(size)
        self.register_buffer("mask_in", (seen[None] < degree[:, None]).float(), persistent=False)
        self.register_buffer("mask_out", (degree[None] <= seen[:, None]).float(), persistent=False)
        self.register_buffer("mask_skip", (seen[None] < seen[:, None]).float(), persistent=False)
        self.hidden = nn.Linear(size, hidden)
        self.out = nn.Linear(hidden, size * 3 * COMPONENTS)
        self.skip = nn.Linear(size, size)
        self.context = nn.Linear(given, hidden, bias=False) if given else None
        self.context_skip = nn.Linear(given, size, bias=False) if given else None

    mask_in: Tensor
    mask_out: Tensor
    mask_skip: Tensor

    def forward(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """Log p(y | x) of each sample, nats, (n,)."""
        inner = functional.linear(y, self.hidden.weight * self.mask_in, self.hidden.bias)
        mean = functional.linear(y, self.skip.weight * self.mask_skip, self.skip.bias)
        if self.context is not None and self.context_skip is not None:
            inner, mean = inner + self.context(x), mean + self.context_skip(x)
        mask = self.mask_out.repeat_interleave(3 * COMPONENTS, 0)
        raw = functional.linear(functional.silu(inner), self.out.weight * mask, self.out.bias)
        weights, means, scales = raw.view(len(y), self.size, 3, COMPONENTS).unbind(2)
        scales = scales.clamp(min=-12.0)
        z = (y[..., None] - mean[..., None] - means) * (-scales).exp()
        logistic = -z - 2 * functional.softplus(-z) - scales
        return (weights.log_softmax(-1) + logistic).logsumexp(-1).sum(-1)

    @torch.no_grad()
    def start(self, y: Tensor, x: Tensor | None = None) -> None:
        """Begin with the linear regression of each coordinate on those before it and on x.

        Args:
            y: samples, (n, d).
            x: what is given, (n, c), or None.
        """
        self.skip.weight.zero_()
        self.out.weight.mul_(0.1)
        bias = self.out.bias.view(self.size, 3, COMPONENTS)
        bias[:, 0] = 0.0
        for i in range(self.size):
            design = [torch.ones_like(y[:, :1]), y[:, :i]] + ([] if x is None else [x])
            known, of = torch.cat(design, 1).double(), y[:, i].double()
            found = torch.linalg.lstsq(known, of[:, None]).solution[:, 0]
            spread = (of - known @ found).std()
            self.skip.bias[i], self.skip.weight[i, :i] = found[0], found[1 : i + 1]
            if self.context_skip is not None:
                self.context_skip.weight[i] = found[i + 1 :]
            # Together as wide as what is left: logistics of half its variance, means for the other half.
            bias[i, 1] = torch.linspace(-1, 1, COMPONENTS) * 0.95 * spread
            bias[i, 2] = (spread.clamp(min=1e-6) * math.sqrt(0.5 * 3) / math.pi).log()


class Fitted:
    """A trained model behind the scaling of its samples."""

    def __init__(self, model: Autoregressive, y: Tensor, x: Tensor | None) -> None:
        self.model = model
        self.y_mean, self.y_std = y.mean(0), y.std(0)
        if x is not None:
            self.x_mean, self.x_std = x.mean(0), x.std(0).clamp(min=1e-12)

    def scaled(self, y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the model sees."""
        if x is not None:
            x = ((x - self.x_mean) / self.x_std).float()
        return ((y - self.y_mean) / self.y_std).float(), x

    @torch.no_grad()
    def log_density(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """Log p(y | x) of each sample in its own units, nats, (n,), float64."""
        return self.model(*self.scaled(y, x)).double() - self.y_std.double().log().sum()


def fit_autoregressive(
    y: Tensor, x: Tensor | None, parts: Parts, seed: int, epochs: int = 60, batch_size: int = 128
) -> Fitted:
    """Train by Adam until the validation part has not gained for five epochs; the best epoch is kept.

    Args:
        y: all samples, (n, d).
        x: what is given, (n, c), or None.
        parts: which samples are for what; the held-out ones are not touched.
        seed: of initialisation and order.
        epochs: at most.
        batch_size: samples a step.

    Raises:
        ValueError: a coordinate is constant.
    """
    if not bool((y[parts.fit].std(0) > 0).all()):
        raise ValueError("a coordinate of y is constant: leave it out, it says nothing")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, 1))
        model = Autoregressive(y.shape[1], 0 if x is None else x.shape[1]).to(y.device)
    fitted = Fitted(model, y[parts.fit], None if x is None else x[parts.fit])
    a, b = fitted.scaled(y, x)
    model.start(a[parts.fit], None if b is None else b[parts.fit])

    def score(rows: Tensor) -> Tensor:
        return model(a[rows], None if b is None else b[rows]).mean()

    with torch.no_grad():
        best, kept, waited = float(score(parts.validation)), copy.deepcopy(model.state_dict()), 0
    steps = epochs * math.ceil(len(parts.fit) / batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        order = parts.fit[torch.randperm(len(parts.fit), generator=generator(seed, 2, epoch))]
        for rows in order.split(batch_size):
            optimizer.zero_grad()
            (-score(rows)).backward()
            optimizer.step()
            decay.step()
        with torch.no_grad():
            value = float(score(parts.validation))
        if value > best:
            best, kept, waited = value, copy.deepcopy(model.state_dict()), 0
        elif (waited := waited + 1) == 5:
            break
    model.load_state_dict(kept)
    return fitted
