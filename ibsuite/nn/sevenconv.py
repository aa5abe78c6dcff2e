"""The convolutional network of Gao et al. 2019 on CIFAR: seven convolutions and one linear layer."""

from torch import Tensor, nn

from ibsuite.nn.initial import draw_layers
from ibsuite.nn.layers import halve, image_shape


class SevenConv(nn.Module):
    """Seven convolutions, whose batch norms have neither scales nor shifts, and a linear layer.

    ::

        x ─ [ 3x3 conv ─ batch norm ─ ReLU ] x 2 ─ 2x2 max pool ─ ... ─ 3x3 conv without padding ─ batch norm
          ─ ReLU ─ 2x2 max pool ─ linear ─ logits

    Three stages of c, 2c and 4c channels, then one convolution to 8c. The network that Gao et al. 2019
    compress on CIFAR-10 and CIFAR-100 is that of the repository which they link
    (aaron-xichen/pytorch-playground), with biases that its batch norms take out again; their text counts
    five convolutions and three linear layers. Kaiming normal convolutions, Xavier uniform linear layer, zero
    bias. On images smaller than theirs a pool is left out, or the last convolution padded, where nothing
    would be left of a map.

    ======== ========== =======================
    channels    classes parameters, 3 x 32 x 32
    ======== ========== =======================
    128              10               9,303,434
    16               10                 146,874
    ======== ========== =======================

    Args:
        input_shape: Shape of one input, (channels, height, width).
        num_classes: Number of classes.
        channels: c, channels of the first stage.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, channels: int = 128) -> None:
        super().__init__()
        inputs, height, width = image_shape(self, input_shape)
        layers: list[nn.Module] = []
        for factor in (1, 2, 4):
            for _ in range(2):
                layers += _convolution(inputs, factor * channels, padding=1)
                inputs = factor * channels
            pool, height, width = halve(height, width)
            layers += pool
        padding = 0 if min(height, width) >= 3 else 1
        layers += _convolution(inputs, 8 * channels, padding)
        pool, height, width = halve(height - 2 + 2 * padding, width - 2 + 2 * padding)
        self.features = nn.Sequential(*layers, *pool, nn.Flatten())
        self.head = nn.Linear(8 * channels * height * width, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        draw_layers(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``, (n, channels, height, width) -> (n, num_classes)."""
        return self.head(self.features(x))


def _convolution(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, affine=False), nn.ReLU(inplace=True)]
