"""Upright, centred images: what can be normalised without a label need not be learnt from labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

AT_A_TIME = 4096


def deskew(x: Tensor) -> Tensor:
    """Images with the centre of their mass in the middle and no slant, of the same shape and type.

    With m_ab the central moments of the brightness above an image's darkest value, row y is moved by
    (m_11 / m_02) (y - centre), after which horizontal and vertical position are uncorrelated. Bilinear, dark
    beyond the edges; an image without any contrast stays as it is. For bright figures on dark ground.

    Args:
        x: (n, channels, height, width), uint8 or float32; moments are those of the mean over channels.
    """
    return torch.cat([_deskew(some) for some in x.split(AT_A_TIME)]) if len(x) else x


def _deskew(x: Tensor) -> Tensor:
    n, _, height, width = x.shape
    dark = x.float().amin((1, 2, 3), keepdim=True)
    above = x.float() - dark
    mass = above.mean(1)
    total = mass.sum((1, 2), keepdim=True)
    mass = torch.where(total > 0, mass / total.clamp(min=1e-12), 1 / (height * width))
    rows = torch.arange(height, dtype=torch.float32).view(1, -1, 1)
    columns = torch.arange(width, dtype=torch.float32).view(1, 1, -1)
    y0 = (mass * rows).sum((1, 2), keepdim=True)
    x0 = (mass * columns).sum((1, 2), keepdim=True)
    m11 = (mass * (rows - y0) * (columns - x0)).sum((1, 2), keepdim=True)
    m02 = (mass * (rows - y0).square()).sum((1, 2), keepdim=True)
    slant = torch.where(m02 > 1e-6, m11 / m02.clamp(min=1e-6), 0.0)
    # Where each pixel of the result is found in the image, in pixels and then in grid_sample's units.
    up, along = rows - (height - 1) / 2, columns - (width - 1) / 2
    found_y = (y0 + up).expand(n, height, width)
    found_x = x0 + along + slant * up
    grid = torch.stack([(2 * found_x + 1) / width - 1, (2 * found_y + 1) / height - 1], -1)
    moved = F.grid_sample(above, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + dark
    return moved.round().to(x.dtype) if x.dtype == torch.uint8 else moved
