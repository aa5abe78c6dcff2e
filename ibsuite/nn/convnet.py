"""The small modern convolutional network that the package uses by default on images."""

import torch
from torch import Tensor, nn

from ibsuite.nn.initial import draw_layers
from ibsuite.nn.layers import convolve, image_shape


class ConvNet(nn.Module):
    """Small convolutional network with batch norm and a global average.

    ::

        x ─ [ 3x3 conv ─ batch norm ─ ReLU ] x depth ─ pool ─ ... ─ global average ─ dropout ─ linear ─ logits
            └───────────── one stage per width ─────────────┘

    2x2 max pooling, which keeps an odd last row, stands between the stages while 4 pixels are left.
    Ours; no paper. Kaiming normal convolutions; the last layer starts at zero, so that an untrained
    network gives every class the same probability and codes at exactly the uniform length.
    162,562 parameters on 1 x 28 x 28, 162,994 on 3 x 32 x 32.

    Args:
        input_shape: Shape of one input, (channels, height, width).
        num_classes: Number of classes.
        widths: Channels of each stage.
        depth: Convolutions per stage.
        stem: Side of the first convolution.
        stem_stride: Its stride; 2 halves the map at once, for a quarter of the work in the first stage.
        dropout: Probability of dropping an averaged feature while training.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        widths: tuple[int, ...] = (24, 48, 96),
        depth: int = 2,
        stem: int = 3,
        stem_stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape(self, input_shape)
        layers: list[nn.Module] = []
        for stage, outputs in enumerate(widths):
            if stage and min(height, width) >= 4:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                height, width = -(-height // 2), -(-width // 2)
            for i in range(depth):
                first = stage == i == 0
                side, stride = (stem, stem_stride) if first else (3, 1)
                layers += convolve(channels, outputs, batch_norm=True, side=side, stride=stride)
                channels, height, width = outputs, -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        self.to(memory_format=torch.channels_last)  # a quarter to a third faster on CPU and GPU
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        draw_layers(self)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``, (n, channels, height, width) -> (n, num_classes)."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self.head(self.dropout(self.features(x).mean((2, 3))))
