"""tinyCNN, the small convolutional network of the prequential experiments on CIFAR-10."""

from torch import Tensor, nn

from ibsuite.nn.initial import draw_layers
from ibsuite.nn.layers import convolve, halve, image_shape
from ibsuite.nn.mlp import MLP


class TinyCNN(nn.Module):
    """tinyCNN: four convolutions of 32 filters and two fully connected layers of 256.

    ::

        x ─ [ (3x3 conv 32 ─ ReLU) x 2 ─ 2x2 max pool ] x 2
          ─ [ linear 256 ─ ReLU ─ dropout ] x 2 ─ linear ─ logits

    Blier & Ollivier 2018, appendix D. Filter size and padding are not stated there: 3x3, size kept.
    Kaiming normal convolutions, Xavier uniform linear layers, zero biases.
    621,546 parameters on 3 x 32 x 32, 498,090 on 1 x 28 x 28.

    Args:
        input_shape: Shape of one input, (channels, height, width). A map of one pixel is not pooled.
        num_classes: Number of classes.
        dropout: Probability of dropping a fully connected hidden unit while training.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        channels, height, width = image_shape(self, input_shape)
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += convolve(channels, 32, batch_norm=False) + convolve(32, 32, batch_norm=False)
            pool, height, width = halve(height, width)
            layers += pool
            channels = 32
        self.features = nn.Sequential(*layers)
        self.head = MLP((channels, height, width), num_classes, hidden=(256, 256), dropout=dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        draw_layers(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``, (n, channels, height, width) -> (n, num_classes)."""
        return self.head(self.features(x))
