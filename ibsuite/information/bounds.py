"""Mutual information from a critic's scores: Donsker-Varadhan, MINE, NWJ, InfoNCE, SMILE. Nats.

A critic f(x, y) is scored on pairs from the joint distribution and on pairs from the product of the
marginals. What is maximised, and what the value is, are two things: each bound gives an objective whose
gradient is to be climbed and whose number is the value.

A global batch may lie in shares, one on each rank. A share's few sums cross ranks by a ``gather``; means
and log-mean-exps are then those of the global batch, exactly, and the gradients of the shares add up to
the gradient of the whole. A trainer that averages gradients over ranks multiplies by their number first.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from ibsuite.information.estimates import Kind

Gather = Callable[[Tensor], Tensor]
"""Takes a share's sums, (s,), float64, to those of all shares, (shares, s); no gradient passes it."""


class BoundValue(NamedTuple):
    """Value and objective of one batch."""

    objective: Tensor
    """To be maximised, nats, of this share's graph; its number is the value of the whole batch."""
    kind: Kind
    """What the value is to the truth, for a critic that has not seen the batch."""
    marginal_pairs: int
    """Pairs from the product of the marginals in the whole batch."""
    ceiling: float
    """Above it, nats, a value certifies nothing (InfoNCE cannot get there)."""

    @property
    def value(self) -> float:
        """The value of the whole batch, nats."""
        return float(self.objective.detach())

    @property
    def certified(self) -> bool:
        """Whether the number of pairs can support the value."""
        return self.value <= self.ceiling


class Bound(Protocol):
    """A way from a critic's scores to a value and a gradient."""

    kind: Kind

    def __call__(self, joint: Tensor, product: Tensor, gather: Gather | None = None) -> BoundValue:
        """Value and objective of a batch, or of the whole batch from this share of it, nats.

        Args:
            joint: scores of pairs from the joint distribution, (n,).
            product: scores of pairs from the product of the marginals, of any shape. InfoNCE alone wants
                (n, m): every x of this share with all m candidates of the whole batch, its own among them.
            gather: brings the sums of all shares together; None where the batch is in one piece.

        Raises:
            ValueError: there are no scores, or a shape is wrong.
        """


class _Sums(NamedTuple):
    """What of a batch all bounds are made of; totals over all shares."""

    joint: Tensor
    pairs: Tensor
    log_sum_exp: Tensor
    marginal_pairs: Tensor
    extra: Tensor

    @property
    def log_mean_exp(self) -> Tensor:
        return self.log_sum_exp - self.marginal_pairs.log()


def _sums(joint: Tensor, product: Tensor, gather: Gather | None, exponent: Tensor | None = None,
          extra: Tensor | None = None) -> _Sums:  # fmt: skip
    """Sums over the whole batch: joint scores, log of summed exponentials, counts, and one more."""
    if joint.ndim != 1 or not joint.numel() or not product.numel():
        raise ValueError(f"joint scores must be (n,) and product scores some, got {tuple(joint.shape)} "
                         f"and {tuple(product.shape)}")  # fmt: skip
    with torch.no_grad():
        j, p = joint.double(), (product if exponent is None else exponent).double()
        counts = [j.new_tensor(each.numel()) for each in (joint, product)]
        rest = j.new_zeros(()) if extra is None else extra.double()
        share = torch.stack([j.sum(), counts[0], p.flatten().logsumexp(0), counts[1], rest])
        shares = share[None] if gather is None else gather(share)
    total = shares.sum(0)
    return _Sums(total[0], total[1], shares[:, 2].logsumexp(0), total[3], total[4])


def _with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    """The number of ``value`` with the gradient of ``surrogate``."""
    # A surrogate that is not finite must not turn the number into nan: the difference is zero by intent.
    return value.detach() + (surrogate - surrogate.detach()).nan_to_num(0.0, 0.0, 0.0)


def _pair_value(value: Tensor, surrogate: Tensor, kind: Kind, sums: _Sums) -> BoundValue:
    pairs = int(sums.marginal_pairs)
    return BoundValue(_with_gradient(value, surrogate), kind, pairs, math.log(pairs))


class DonskerVaradhan:
    """E_joint f - log E_product exp f: a plug-in, nats.

    With exact expectations it is a lower bound for every critic, and I for f = log of the density ratio + c.
    The logarithm of a sample mean is too small on average, so that the value of a batch is no bound; for the
    same reason the gradient of a mini-batch is biased (``Mine`` corrects it).

    Source: Donsker & Varadhan 1983; Belghazi et al. 2018; Elad et al. 2019, equation 6.
    """

    kind = Kind.PLUG_IN

    def __call__(self, joint: Tensor, product: Tensor, gather: Gather | None = None) -> BoundValue:
        """Value and its own gradient; arguments as in ``Bound``."""
        sums = _sums(joint, product, gather)
        weights = (product.detach().double() - sums.log_sum_exp).exp()
        surrogate = joint.double().sum() / sums.pairs - (weights * product.double()).sum()
        return _pair_value(sums.joint / sums.pairs - sums.log_mean_exp, surrogate, self.kind, sums)


class Mine(nn.Module):
    """The Donsker-Varadhan value; in its gradient the denominator is a running mean over batches. Nats.

    Gradient: E_joint grad f - E_product[exp(f) grad f] / D, D <- decay D + (1 - decay) mean exp(f). With D
    near E exp f the average over mini-batches is the gradient of all data, which that of the plain
    value is not. D is a buffer: it is saved with the state, and is the same on all ranks.

    Args:
        decay: share of the running mean that is kept at each batch, in [0, 1).

    Raises:
        ValueError: decay is outside [0, 1).

    Source: Belghazi et al. 2018, Section 3.2 (correcting the bias from the stochastic gradients).
    """

    kind = Kind.PLUG_IN
    log_denominator: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("log_denominator", torch.tensor(math.nan, dtype=torch.float64))

    def forward(self, joint: Tensor, product: Tensor, gather: Gather | None = None) -> BoundValue:
        """Value and corrected gradient; the running mean moves where gradients are on. As in ``Bound``."""
        sums = _sums(joint, product, gather)
        log_mean = sums.log_mean_exp
        if torch.is_grad_enabled():
            self._follow(log_mean)
        # Not yet a running mean: evaluated before any step.
        log_denominator = log_mean if bool(self.log_denominator.isnan()) else self.log_denominator
        weights = (product.detach().double() - log_denominator - sums.marginal_pairs.log()).exp()
        surrogate = joint.double().sum() / sums.pairs - (weights * product.double()).sum()
        return _pair_value(sums.joint / sums.pairs - log_mean, surrogate, self.kind, sums)

    def _follow(self, log_mean: Tensor) -> None:
        before = self.log_denominator.to(log_mean.device)
        if not bool(before.isnan()) and self.decay:
            log_mean = torch.logaddexp(before + math.log(self.decay), log_mean + math.log1p(-self.decay))
        self.log_denominator = log_mean.detach().clone()


class NWJ:
    """E_joint f - E_product exp(f - a) - a + 1, a lower bound, nats; a = 1 is the bound of Nguyen et al.

    Unbiased, so that the expectation is at most I for every critic and a that have not seen the batch,
    with equality for f = log of the density ratio + a. Its variance grows like exp(I): few pairs say little.
    A critic trained by any other bound gives a lower bound here, with its own log-mean-exp on the training
    samples as a.

    Args:
        baseline: a.

    Source: Nguyen, Wainwright & Jordan 2010; with any a, Poole et al. 2019, I_TUBA with a constant baseline.
    """

    kind = Kind.LOWER

    def __init__(self, baseline: float = 1.0) -> None:
        self.baseline = baseline

    def __call__(self, joint: Tensor, product: Tensor, gather: Gather | None = None) -> BoundValue:
        """Value and its own gradient; arguments as in ``Bound``."""
        sums, a = _sums(joint, product, gather), self.baseline
        weights = (product.detach().double() - a - sums.marginal_pairs.log()).exp()
        surrogate = joint.double().sum() / sums.pairs - (weights * product.double()).sum()
        value = sums.joint / sums.pairs - (sums.log_mean_exp - a).exp() - a + 1
        return _pair_value(value, surrogate, self.kind, sums)


class InfoNCE:
    """E log[exp f(x_i, y_i) / mean_j exp f(x_i, y_j)], a lower bound that is never above ln m, nats.

    Product scores are (n, m): a row for each x of this share, a column for each of the m candidates of the
    whole batch, the x's own y among them. Candidates from other ranks must bring their gradient with them.

    Source: van den Oord et al. 2018; Poole et al. 2019, I_NCE.
    """

    kind = Kind.LOWER

    def __call__(self, joint: Tensor, product: Tensor, gather: Gather | None = None) -> BoundValue:
        """Value and its own gradient; arguments as in ``Bound``."""
        if product.ndim != 2 or len(product) != len(joint):
            raise ValueError(f"InfoNCE needs a row of candidates for each of {len(joint)} pairs, got scores "
                             f"of shape {tuple(product.shape)}")  # fmt: skip
        rows = product.double().logsumexp(1)
        sums = _sums(joint, product, gather, extra=rows.detach().sum())
        candidates = product.shape[1]
        value = ((sums.joint - sums.extra) / sums.pairs + math.log(candidates)).clamp(
            max=math.log(candidates)
        )
        surrogate = (joint.double() - rows).sum() / sums.pairs
        objective = _with_gradient(value, surrogate)
        return BoundValue(objective, self.kind, int(sums.marginal_pairs), math.log(candidates))


class SMILE:
    """Donsker-Varadhan with the product scores clipped to [-tau, tau], a plug-in, nats.

    The value has little variance and a bias that no sign is known of; the gradient is that of the
    Jensen-Shannon bound E_joint[-softplus(-f)] - E_product[softplus f], best at f = log of the density ratio.

    Args:
        tau: product scores are clipped to [-tau, tau]; inf is Donsker-Varadhan.

    Raises:
        ValueError: tau is not positive.

    Source: Song & Ermon 2020 (SMILE), with the gradient of the Jensen-Shannon bound as in their program.
    """

    kind = Kind.PLUG_IN

    def __init__(self, tau: float = 5.0) -> None:
        if not tau > 0:
            raise ValueError(f"tau must be positive, got {tau}")
        self.tau = tau

    def __call__(self, joint: Tensor, product: Tensor, gather: Gather | None = None) -> BoundValue:
        """Value, and the gradient of the Jensen-Shannon bound; arguments as in ``Bound``."""
        sums = _sums(joint, product, gather, exponent=product.detach().clamp(-self.tau, self.tau))
        surrogate = functional.logsigmoid(joint.double()).sum() / sums.pairs
        surrogate = surrogate - functional.softplus(product.double()).sum() / sums.marginal_pairs
        return _pair_value(sums.joint / sums.pairs - sums.log_mean_exp, surrogate, self.kind, sums)
