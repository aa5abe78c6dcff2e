"""LeNet, as in the variational and the subspace experiments, and small networks of its kind."""

from torch import Tensor, nn

from ibsuite.nn.initial import draw_layers
from ibsuite.nn.layers import image_shape
from ibsuite.nn.mlp import MLP


class LeNet(nn.Module):
    """LeNet with ReLU and max pooling: 6 and 16 filters of 5x5, then 120 and 84 units.

    ::

        x ─ 5x5 conv 6 ─ ReLU ─ 2x2 max pool ─ 5x5 conv 16 ─ ReLU ─ 2x2 max pool ─ linear 120 ─ 84 ─ logits

    Blier & Ollivier 2018, appendices B and C, after Li et al. 2018 (arXiv 1804.08838). Without padding it has
    the published 44,426 parameters on 1 x 28 x 28 and 62,006 on 3 x 32 x 32.
    Kaiming normal convolutions, Xavier uniform linear layers, zero biases.

    Args:
        input_shape: Shape of one input, (channels, height, width).
        num_classes: Number of classes.
        padding: Zero pixels around each convolution's map: 0 as published (needs 16x16 pixels),
            2 keeps the map's size, so that 4x4 pixels and more will do.
        filters: Channels of each convolution; a 2x2 max pool stands behind every one.
        hidden: Width of each hidden fully connected layer; none: logits from the last map.
        kernel: Side of the convolutions.

    Raises:
        ValueError: The image is too small for the filters.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        padding: int = 0,
        filters: tuple[int, ...] = (6, 16),
        hidden: tuple[int, ...] = (120, 84),
        kernel: int = 5,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape(self, input_shape)
        layers: list[nn.Module] = []
        for outputs in filters:
            layers += [nn.Conv2d(channels, outputs, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2)]
            channels = outputs
            height, width = ((side + 2 * padding - kernel + 1) // 2 for side in (height, width))
            if min(height, width) < 1:
                raise ValueError(
                    f"LeNet with padding={padding} leaves no pixel of {tuple(input_shape)}; "
                    "use padding=2 or MLP."
                )
        self.features = nn.Sequential(*layers)
        self.head = MLP((channels, height, width), num_classes, hidden=hidden)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        draw_layers(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``, (n, channels, height, width) -> (n, num_classes)."""
        return self.head(self.features(x))
