"""What the convolutional networks share: image shapes, pools that fit, a convolution with its ReLU."""

from torch import nn


def image_shape(network: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """``input_shape`` as (channels, height, width), or a ``ValueError`` that names ``network``."""
    if len(input_shape) != 3:
        raise ValueError(
            f"{type(network).__name__} reads images of shape (channels, height, width), "
            f"not {tuple(input_shape)}; MLP takes inputs of any shape."
        )
    channels, height, width = input_shape
    return channels, height, width


def halve(height: int, width: int, smallest: int = 1) -> tuple[list[nn.Module], int, int]:
    """A 2x2 max pool and the map it leaves; no pool where a side would fall below ``smallest`` pixels."""
    if min(height, width) // 2 < smallest:
        return [], height, width
    return [nn.MaxPool2d(2)], height // 2, width // 2


def convolve(channels: int, width: int, batch_norm: bool, side: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution that keeps the map's size up to its stride, batch norm in place of its bias, ReLU."""
    convolution = nn.Conv2d(channels, width, side, stride, padding=side // 2, bias=not batch_norm)
    return [convolution, *([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU(inplace=True)]
