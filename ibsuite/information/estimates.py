"""An estimate of mutual information, and what may be said about it: kind, ceiling, train and held-out."""

import enum
import math
from typing import Any, NamedTuple

from ibsuite.units import nats_to_bits


class Kind(enum.Enum):
    """What an estimate of mutual information is to the truth."""

    LOWER = "lower"
    """Its expectation is at most the truth, where the critic or model has not seen the samples."""
    UPPER = "upper"
    """Its expectation is at least the truth, where the model has not seen the samples."""
    PLUG_IN = "plug-in"
    """Neither: it tends to the truth, or to a bound, with more samples only."""


class Estimate(NamedTuple):
    """An estimate of mutual information, bits, from training and from held-out samples."""

    kind: Kind
    """Bound or plug-in."""
    train_bits: float
    """On samples that the critic or model was fitted to; nan where nothing was fitted."""
    heldout_bits: float
    """On other samples; where nothing was fitted, on all of them. The one to be quoted."""
    ceiling_bits: float = math.inf
    """What the number of samples can support: log2 of the pairs from the product of the marginals."""
    marginal_pairs: int | None = None
    """Pairs from the product of the marginals behind the held-out value, where it needs some."""
    standard_error_bits: float | None = None
    """Of the held-out value, by its first-order variance, where that is known."""
    diverged: str | None = None
    """What went wrong in the fit and what to change, in one sentence."""

    @property
    def certified(self) -> bool:
        """Whether the samples can support a held-out value of this size.

        A critic can be scaled until few pairs miss where it is large: any value above the log of the
        number of marginal pairs can be reached whatever the truth. Below it a lower bound is one; a plug-in
        remains a plug-in.

        Source: McAllester & Stratos 2020 (formal limitations on the measurement of mutual information).
        """
        return self.diverged is None and self.heldout_bits <= self.ceiling_bits

    def as_dict(self) -> dict[str, Any]:
        """The estimate in numbers that JSON knows, bits: what is not finite is null."""
        names = ("train_bits", "heldout_bits", "standard_error_bits", "ceiling_bits")
        found = {name: getattr(self, name) for name in names}
        known = {
            name: bits if bits is not None and math.isfinite(bits) else None for name, bits in found.items()
        }
        return {"kind": self.kind.value, **known, "certified": self.certified, "diverged": self.diverged}

    def field(self, name: str) -> str:
        """Name under which the held-out value may be stored or logged.

        ``name_lower_bits`` and ``name_upper_bits`` for bounds, ``name_bits`` for a plug-in, and
        ``name_uncertified_bits`` for what the samples cannot support.

        Args:
            name: the quantity, for example ``mi_xl``.
        """
        if not self.certified:
            return f"{name}_uncertified_bits"
        return f"{name}_bits" if self.kind is Kind.PLUG_IN else f"{name}_{self.kind.value}_bits"


def pairs_ceiling_bits(marginal_pairs: int) -> float:
    """Log of the number of marginal pairs, bits: above it an estimate from a critic certifies nothing.

    Args:
        marginal_pairs: pairs from the product of the marginals.
    """
    return nats_to_bits(math.log(marginal_pairs))
