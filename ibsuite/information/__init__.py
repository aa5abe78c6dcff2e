"""How much one thing says about another: closed forms, and bounds and estimates from samples, in bits."""

from ibsuite.information.architecture_aware import (
    ArchitectureAwareCritic,
    architecture_aware,
    layer_outputs,
    noisy_outputs,
)
from ibsuite.information.autoregressive import Autoregressive
from ibsuite.information.bounds import (
    NWJ,
    SMILE,
    Bound,
    BoundValue,
    DonskerVaradhan,
    InfoNCE,
    Mine,
)
from ibsuite.information.closed_forms import (
    BottleneckPoint,
    correlation_mi_bits,
    correlation_of,
    gaussian_bottleneck,
    gaussian_mi_bits,
    linear_gaussian_mi_bits,
    linear_gaussian_mi_nats,
    table_mi_bits,
)
from ibsuite.information.critics import (
    Critic,
    JointCritic,
    LabelCritic,
    SeparableCritic,
    off_diagonal,
    scores,
)
from ibsuite.information.densities import LinearGaussian, difference_of_entropies, noisy_upper
from ibsuite.information.estimates import Estimate, Kind, pairs_ceiling_bits
from ibsuite.information.gates import (
    GateInformation,
    GateUpperBits,
    best_marginal_variance,
    gate_information_upper_bits,
    gate_kl_bits,
)
from ibsuite.information.kernels import (
    KernelBounds,
    gaussian_information_nats,
    kernel_bounds,
    kernel_information_nats,
    kernel_rates_nats,
)
from ibsuite.information.mixture import MixtureInformation, mixture_information
from ibsuite.information.noise_curve import Between, between, critic_estimates
from ibsuite.information.plug_in import binned, ksg
from ibsuite.information.rate_distortion import (
    BreakPoints,
    UniformCode,
    WaterFilling,
    entropy_bound_bits,
    entropy_coded_uniform,
    gaussian_rate_bits,
    gaussian_test_channel,
    linear_rate_bits,
    linear_rate_bound_bits,
)
from ibsuite.information.relu_unit import prune_least_important, relu_distortion
from ibsuite.information.samples import normal_scores
from ibsuite.information.sparsity import GatedQuadratic, LocalMinimum, find_local_minimum
from ibsuite.information.training import TrainedCritic, apply, read_scores, train_critic

__all__ = [
    "NWJ",
    "SMILE",
    "ArchitectureAwareCritic",
    "Autoregressive",
    "Between",
    "BottleneckPoint",
    "Bound",
    "BoundValue",
    "BreakPoints",
    "Critic",
    "DonskerVaradhan",
    "Estimate",
    "GateInformation",
    "GateUpperBits",
    "GatedQuadratic",
    "InfoNCE",
    "JointCritic",
    "KernelBounds",
    "Kind",
    "LabelCritic",
    "LinearGaussian",
    "LocalMinimum",
    "Mine",
    "MixtureInformation",
    "SeparableCritic",
    "TrainedCritic",
    "UniformCode",
    "WaterFilling",
    "apply",
    "architecture_aware",
    "best_marginal_variance",
    "between",
    "binned",
    "correlation_mi_bits",
    "correlation_of",
    "critic_estimates",
    "difference_of_entropies",
    "entropy_bound_bits",
    "entropy_coded_uniform",
    "find_local_minimum",
    "gate_information_upper_bits",
    "gate_kl_bits",
    "gaussian_bottleneck",
    "gaussian_information_nats",
    "gaussian_mi_bits",
    "gaussian_rate_bits",
    "gaussian_test_channel",
    "kernel_bounds",
    "kernel_information_nats",
    "kernel_rates_nats",
    "ksg",
    "layer_outputs",
    "linear_gaussian_mi_bits",
    "linear_gaussian_mi_nats",
    "linear_rate_bits",
    "linear_rate_bound_bits",
    "mixture_information",
    "noisy_outputs",
    "noisy_upper",
    "normal_scores",
    "off_diagonal",
    "pairs_ceiling_bits",
    "prune_least_important",
    "read_scores",
    "relu_distortion",
    "scores",
    "table_mi_bits",
    "train_critic",
]
