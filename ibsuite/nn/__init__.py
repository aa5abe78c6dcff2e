"""Networks (torch only): images or vectors in, logits out, and a way back to the untrained state.

Every network takes ``(input_shape, num_classes, ...)``, maps (n, *input_shape) to (n, num_classes), and
draws a complete fresh initialisation in ``reset_parameters()``.
"""

from ibsuite.nn.bayesian import fixed_weights, make_bayesian, posterior, recenter, set_means
from ibsuite.nn.bottleneck import Bottleneck, Encoding, mean_prediction
from ibsuite.nn.chain import layer_chain
from ibsuite.nn.convnet import ConvNet
from ibsuite.nn.costs import Costs, costs
from ibsuite.nn.gates import gate_places, gate_units
from ibsuite.nn.initial import (
    assert_no_shared_storage,
    draw_layers,
    named_tensors,
    pristine_state,
    reset_network,
)
from ibsuite.nn.lenet import LeNet
from ibsuite.nn.mlp import MLP
from ibsuite.nn.priors import (
    ConjugateGaussian,
    FixedGaussian,
    LearnedGaussian,
    Prior,
    ScaleMixture,
    divergence,
    from_standardised,
    standardised,
)
from ibsuite.nn.removal import small_network
from ibsuite.nn.representations import representations
from ibsuite.nn.saved import load_network, save_network
from ibsuite.nn.sevenconv import SevenConv
from ibsuite.nn.tinycnn import TinyCNN
from ibsuite.nn.vgg import VGG, VGG8, VGG13

__all__ = [
    "MLP",
    "VGG",
    "VGG8",
    "VGG13",
    "Bottleneck",
    "ConjugateGaussian",
    "ConvNet",
    "Costs",
    "Encoding",
    "FixedGaussian",
    "LeNet",
    "LearnedGaussian",
    "Prior",
    "ScaleMixture",
    "SevenConv",
    "TinyCNN",
    "assert_no_shared_storage",
    "costs",
    "divergence",
    "draw_layers",
    "fixed_weights",
    "from_standardised",
    "gate_places",
    "gate_units",
    "layer_chain",
    "load_network",
    "make_bayesian",
    "mean_prediction",
    "named_tensors",
    "posterior",
    "pristine_state",
    "recenter",
    "representations",
    "reset_network",
    "save_network",
    "set_means",
    "small_network",
    "standardised",
]
