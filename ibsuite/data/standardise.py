"""From raw inputs to what networks see: zero mean and unit variance over everything that is coded.

The constants come from inputs alone, which the receiver has before the first label is sent.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Standardise(NamedTuple):
    """Mean and standard deviation per channel of images, or per feature of vectors."""

    mean: Tensor
    """(c, 1, 1) or (d,), float32, in units of :meth:`unit`."""
    std: Tensor
    """As ``mean``; 1 where the inputs do not vary."""

    @classmethod
    def of(cls, x: Tensor) -> "Standardise":
        """Measure the constants on raw inputs, in float64.

        Args:
            x: Images, (n, c, h, w), uint8 or float32; or vectors, (n, d), float32.
        """
        if x.dtype == torch.uint8:
            mean, std = _moments_of_bytes(x)
        else:
            dims = [d for d in range(x.dim()) if d != 1]
            mean = x.mean(dims, dtype=torch.float64)
            centred = x - mean.float().view([-1] + [1] * (x.dim() - 2))
            std = centred.square_().mean(dims, dtype=torch.float64).sqrt()
        # Rounding leaves a constant feature with a tiny deviation, which must not be blown up to 1.
        std = torch.where(std <= 1e-6 * (1 + mean.abs()), torch.ones_like(std), std)
        shape = [-1] + [1] * (x.dim() - 2)
        return cls(mean.float().view(shape), std.float().view(shape))

    def to(self, device: torch.device) -> "Standardise":
        """The same constants on another device."""
        return Standardise(self.mean.to(device), self.std.to(device))

    def unit(self, raw: Tensor) -> Tensor:
        """Raw inputs as float32: bytes divided by 255, everything else as it is."""
        return raw.float().div_(255) if raw.dtype == torch.uint8 else raw.float()

    def __call__(self, unit: Tensor) -> Tensor:
        """Subtract the mean, divide by the standard deviation."""
        return (unit - self.mean).div_(self.std)


def _moments_of_bytes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Exact up to the last division, whatever the number of threads: from the histogram of each channel."""
    counts = torch.stack([torch.bincount(x[:, c].flatten(), minlength=256) for c in range(x.shape[1])])
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    return mean, (share * (values - mean.unsqueeze(1)) ** 2).sum(1).sqrt()
