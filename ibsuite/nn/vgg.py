"""VGG-like networks: stages of 3x3 convolutions with a max pool after each."""

from typing import Literal

from torch import Tensor, nn

from ibsuite.nn.initial import draw_layers
from ibsuite.nn.layers import convolve, halve, image_shape


class VGG(nn.Module):
    """VGG-like network of any stages.

    ::

        x ─ [ 3x3 conv ─ (batch norm) ─ ReLU ─ (dropout) ─ ... ─ 2x2 max pool ] per stage
          ─ [ dropout ─ linear ─ (batch norm) ─ ReLU ] per fully connected layer ─ dropout ─ linear ─ logits

    After Simonyan & Zisserman 2014 and Zagoruyko 2015 (torch.ch/blog/2015/07/30/cifar.html). A map of one
    pixel is no longer pooled, so that small images pass. Kaiming normal convolutions, Xavier uniform
    linear layers, zero biases; batch norm replaces the bias of its layer.

    Args:
        input_shape: Shape of one input, (channels, height, width).
        num_classes: Number of classes.
        stages: Channels of each convolution, stage by stage.
        fully_connected: Width of each hidden fully connected layer.
        batch_norm: Batch norm after every hidden layer.
        dropout: Probability of dropping an input of a fully connected layer while training.
        conv_dropout: The same between the convolutions of a stage: one probability per stage, the last one
            for all further stages; empty for none.
        last_pool: Kind of the pool behind the last stage.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        stages: tuple[tuple[int, ...], ...],
        fully_connected: tuple[int, ...],
        batch_norm: bool = False,
        dropout: float = 0.5,
        conv_dropout: tuple[float, ...] = (),
        last_pool: Literal["max", "average"] = "max",
    ) -> None:
        super().__init__()
        channels, height, width = image_shape(self, input_shape)
        layers: list[nn.Module] = []
        for stage, widths in enumerate(stages):
            for position, outputs in enumerate(widths):
                if position and conv_dropout:
                    layers.append(nn.Dropout(conv_dropout[min(stage, len(conv_dropout) - 1)]))
                layers += convolve(channels, outputs, batch_norm)
                channels = outputs
            pool, height, width = halve(height, width)
            averaged = pool and last_pool == "average" and stage == len(stages) - 1
            layers += [nn.AvgPool2d(2)] if averaged else pool
        self.features = nn.Sequential(*layers, nn.Flatten())

        layers, inputs = [], channels * height * width
        for outputs in fully_connected:
            layers += [nn.Dropout(dropout), nn.Linear(inputs, outputs, bias=not batch_norm)]
            layers += [nn.BatchNorm1d(outputs)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            inputs = outputs
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(inputs, num_classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        draw_layers(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``, (n, channels, height, width) -> (n, num_classes)."""
        return self.head(self.features(x))


class VGG8(VGG):
    """VGG-like network with 8 convolutions, for MNIST.

    Stages 32, 32 | 64, 64 | 128, 128 | 256, 256, each with a max pool, then 256 and 256 units.
    Blier & Ollivier 2018, appendix D (no batch norm; their released program has it).
    1,305,834 parameters on 1 x 28 x 28; with batch norm 1,307,306.

    Args:
        input_shape: Shape of one input, (channels, height, width).
        num_classes: Number of classes.
        batch_norm: Batch norm after every hidden layer.
        dropout: Probability of dropping an input of a fully connected layer while training.
        conv_dropout: The same between the convolutions of a stage, one per stage; empty for none.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        batch_norm: bool = False,
        dropout: float = 0.5,
        conv_dropout: tuple[float, ...] = (),
    ) -> None:
        stages = ((32, 32), (64, 64), (128, 128), (256, 256))
        super().__init__(input_shape, num_classes, stages, (256, 256), batch_norm, dropout, conv_dropout)


class VGG13(VGG):
    """VGG-like network with 13 convolutions, for CIFAR-10: VGGa, or with batch norm VGGb.

    Stages 64 x 2 | 128 x 2 | 256 x 3 | 512 x 3 | 512 x 3, each with a max pool, then 512 units.
    Blier & Ollivier 2018, appendix D, after Zagoruyko 2015, whose dropout between convolutions is (0.3, 0.4).
    14,982,474 parameters on 3 x 32 x 32 (VGGa; 14,977,728 are weights); with batch norm (VGGb) 14,987,210.

    Args:
        input_shape: Shape of one input, (channels, height, width).
        num_classes: Number of classes.
        batch_norm: Batch norm after every hidden layer: VGGb; without: VGGa.
        dropout: Probability of dropping an input of a fully connected layer while training.
        conv_dropout: The same between the convolutions of a stage, one per stage, the last one for all
            further stages; empty for none.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        batch_norm: bool = False,
        dropout: float = 0.5,
        conv_dropout: tuple[float, ...] = (),
    ) -> None:
        stages = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
        super().__init__(input_shape, num_classes, stages, (512,), batch_norm, dropout, conv_dropout)
