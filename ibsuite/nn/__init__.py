"""Networks (torch only): images or vectors in, logits out, and a way back to the untrained state.

Every network takes ``(input_shape, num_classes, ...)``, maps (n, *input_shape) to (n, num_classes), and
draws a complete fresh initialisation in ``reset_parameters()``.
"""

from ibsuite.nn.convnet import ConvNet
from ibsuite.nn.initial import (
    assert_no_shared_storage,
    draw_layers,
    named_tensors,
    pristine_state,
    reset_network,
)
from ibsuite.nn.lenet import LeNet
from ibsuite.nn.mlp import MLP
from ibsuite.nn.tinycnn import TinyCNN
from ibsuite.nn.vgg import VGG, VGG8, VGG13

__all__ = [
    "MLP",
    "VGG",
    "VGG8",
    "VGG13",
    "ConvNet",
    "LeNet",
    "TinyCNN",
    "assert_no_shared_storage",
    "draw_layers",
    "named_tensors",
    "pristine_state",
    "reset_network",
]
