"""What crosses the rooms of the house: batches, stretches of training, and who prices what.

This module imports nothing of the package but the ground floor, so that data, methods and
callbacks can meet here without knowing each other.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ibsuite.refusal import Refusal as Refusal


class Batch(NamedTuple):
    """One rank's share of a global batch."""

    x: Tensor
    """Inputs, (n, *input_shape), float32, normalised."""
    y: Tensor
    """Labels, (n,), int64."""
    weight: float
    """Factor on the *summed* loss: the mean over ranks and pieces of a step is then the global mean."""
    whole: bool = False
    """Whether every rank has this whole batch, for it is too small to be shared."""


class Stretch(NamedTuple):
    """A stretch of training: so many steps, on these labels only, with randomness of its own."""

    rows: Tensor
    """Positions that may be trained on, (m,), int64; positions of labels already sent."""
    steps: int
    """Optimiser steps."""
    seed: int
    """What shuffling, augmentation and dropout of the stretch are derived from."""
    augmented: bool = True
    """Whether inputs are distorted, where the data say how."""


class Quantised(NamedTuple):
    """A tensor with few values: integers, and what each stands for. The integer 0 stands for zero."""

    symbols: Tensor
    """int64, of the tensor's shape."""
    step: float
    """Value of the integer k is ``k * step``, where there is no codebook. A bfloat16 number."""
    codebook: Tensor | None = None
    """Values of all integers from the least that occurs (or 0) to the greatest (or 0), float16; 0.0 for 0."""

    def values(self) -> Tensor:
        """The tensor itself, float32."""
        if self.codebook is None:
            return self.symbols.float() * self.step
        return self.codebook.float()[self.symbols - self.symbols.min().clamp(max=0)]


Message = Mapping[str, Tensor | Quantised]
"""Tensors by name as they are sent: floats in their own type, or integers with what they stand for."""


class Divergence(NamedTuple):
    """What a distribution over weights costs beside the labels."""

    kl_bits: float
    """KL(q || p) over all weights, float64, bits."""
    standard_error_bits: float
    """Of its Monte-Carlo estimate; 0 where the KL has a closed form."""
    prior_bits: float
    """Settings of the prior that were fitted to the labels and have to be sent, bits."""


class Standardised(NamedTuple):
    """A Gaussian posterior over all weights, in standard deviations of a Gaussian prior around its centre."""

    mean: Tensor
    """(n,), float64, on the CPU."""
    std: Tensor
    """(n,), float64, on the CPU."""
    settings: bytes
    """What the receiver has to know of the prior."""


class GateReading(NamedTuple):
    """The state of one gate on information."""

    place: str
    """Name of the layer behind which it stands."""
    positions: int
    """Of a map, for which one gate is shared; 1 for features."""
    rate_bits: float
    """What it lets pass at most, up to a constant, bits a sample."""
    mu: Tensor
    """Means of the factors, (units,)."""
    sigma: Tensor
    """Their standard deviations, (units,)."""
    log_alpha: Tensor
    """log(sigma^2 / mu^2), (units,)."""
    kept: Tensor
    """Which units are left in evaluation, (units,), bool."""


class BottleneckReading(NamedTuple):
    """What a stochastic representation says of each of some labelled inputs, (n,), float64."""

    rate_bits: Tensor
    """KL(p(z|x) || r(z)), or what else has a mean that is an upper bound on I(Z;X), bits."""
    distortion_bits: Tensor
    """E[-log2 q(y|z)], bits; H(Y) less its mean is a lower bound on I(Z;Y)."""
    wrong_one_draw: Tensor
    """Share of the draws of z by which the prediction is wrong."""
    wrong: Tensor
    """1 where the mean prediction over the draws is wrong, else 0."""
    residual_bits: Tensor | None = None
    """KL(p(z|x) || b(z|y)), bits; its mean is an upper bound on I(X;Z|Y). None where nothing stands for b."""


class LayerReading(NamedTuple):
    """What a layer that is being trained and its critics make of n labelled inputs."""

    layer: int
    """Which one, counted from 1."""
    noise_std: float
    """Of the noise in I(X; L + noise)."""
    outputs: Tensor
    """L of each input, flattened, (n, d)."""
    label_scores: Tensor
    """Scores of every L with every label, (n, n)."""
    input_scores: Tensor | None
    """Scores of every F(x) with every L + noise, (n, n); None where no critic is trained on them."""


class Status(NamedTuple):
    """How far a run is, for whoever shows it."""

    done: int
    """Optimiser steps behind."""
    total: int
    """Optimiser steps in all."""
    text: str
    """What is going on and what it has cost, in a few words."""


@runtime_checkable
class LabelledInputs(Protocol):
    """Inputs that can be priced, and their labels."""

    num_classes: int
    num_labels: int

    @property
    def labels(self) -> Tensor:
        """All labels in order, (num_labels,), int64, on the CPU."""

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        """Inputs at ``rows``, float32, normalised; ``view`` > 0: under that view's fixed augmentation."""


@runtime_checkable
class LabelSequence(LabelledInputs, Protocol):
    """Labels in the order in which they are sent, and the inputs that the receiver already has."""

    name: str
    input_shape: tuple[int, ...]
    order_seed: int
    batch_size: int
    stretch: Stretch | None
    """What the next training loader walks over; None: ordinary epochs over everything."""

    @property
    def order(self) -> Tensor:
        """Stock index of each position, (num_labels,), int64."""

    @property
    def order_sha256(self) -> str:
        """SHA-256 of the inputs' content digests in coding order."""

    @property
    def labels_sha256(self) -> str:
        """SHA-256 of the labels (int64, little endian) in coding order."""

    def test_split(self) -> LabelledInputs | None:
        """The test split, read from disk at this call; None where there is none."""


@runtime_checkable
class ReceivedLabels(Protocol):
    """Labels that a receiver finds out one after another."""

    receiving: int | None
    """Number of classes, where the labels are not known from the start; else None."""

    def fill(self, start: int, labels: Tensor) -> None:
        """Labels from position ``start`` on have been received."""


@runtime_checkable
class PreparedInputs(Protocol):
    """Inputs of which it can be said what was done to them."""

    @property
    def preparation(self) -> dict[str, Any]:
        """How raw inputs become what a network sees, in plain numbers."""


class Ahead(NamedTuple):
    """What a run would do."""

    rows: list[tuple[str, int, str, int]]
    """Of each training: its name, the labels it learns from, what it prices, its optimiser steps."""
    priced: int
    """Labels to be priced, counted as often as a network looks at them for it."""
    predictors: int
    """Probabilities that are kept of each label."""
    apart: Mapping[int, tuple[int, int]] = MappingProxyType({})
    """Steps of each block, and labels to be priced for it; empty where blocks need what is before them."""


@runtime_checkable
class Coding(Protocol):
    """A code that is being measured by a fit."""

    finished: bool
    """Whether everything has been priced."""

    def status(self) -> Status:
        """Where the run is."""

    def ahead(self, sequence: LabelSequence) -> Ahead:
        """What a run on this sequence would do."""


@runtime_checkable
class Classifier(Protocol):
    """A method whose networks give logits, and which can be trained again from the start."""

    training_steps: int | None
    """Optimiser steps of the present training, for schedules; None: ask the trainer."""

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities, (n, *input_shape) -> (n, num_classes)."""

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""


@runtime_checkable
class QuantisedMethod(Protocol):
    """A method whose trained weights lie on grids of its own."""

    def quantised(self) -> Message:
        """All that the receiver needs to rebuild the trained tensors."""

    def load_quantised(self, message: Message) -> None:
        """Take over such a message: predictions are then those of what it holds."""


@runtime_checkable
class Coordinates(Protocol):
    """A method that trains coordinates in a random subspace, and nothing else."""

    dimension: int
    """How many there are."""


@runtime_checkable
class GatedUnits(Protocol):
    """A method whose network has gates on its units, and can lose those that are shut."""

    network: nn.Module
    compressing: bool
    """Whether the rates of the gates belong to the loss."""
    unit_signs: dict[str, Tensor] | None
    """1 for a unit that is left, -1 for one behind a negative factor, 0 for one that was removed, for every
    gate; None before anything was removed."""

    def gate_readings(self) -> list[GateReading]:
        """The state of every gate; none once units have been removed."""

    def gate_inputs(self, x: Tensor) -> dict[str, Tensor]:
        """What every gate multiplies when ``x`` passes."""

    def remove_units(self, signs: Mapping[str, Tensor] | None = None) -> None:
        """Put the small dense network in the place of the gated one: that of its gates, or of ``signs``."""


@runtime_checkable
class StochasticRepresentation(Protocol):
    """A method that classifies a random representation z ~ p(z|x)."""

    beta: float
    """Weight of the rate against the distortion, in the same unit."""

    def read_bottleneck(self, x: Tensor, y: Tensor) -> BottleneckReading:
        """Rate, distortion and errors of each input."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(z|x) = N(mean, S S') of each input: means, (n, K), and factors S, (n, K, K)."""

    def decode(self, z: Tensor) -> Tensor:
        """Logits of q(y|z), (n, K) -> (n, num_classes)."""


@runtime_checkable
class TrainedLayerByLayer(Protocol):
    """A method that trains one layer after another, and a read-out at last."""

    def read_layer(self, x: Tensor, y: Tensor) -> LayerReading | None:
        """What layer and critics that were trained last make of labelled inputs; None in the read-out."""

    def merge(self) -> None:
        """Make the read-out part of the last layer; predictions stay. Nothing happens a second time."""


@runtime_checkable
class PartlySent(Protocol):
    """A module some parts of which no prediction needs: they are trained and saved, and never sent."""

    training_only: tuple[str, ...]
    """Names of those parts, modules or tensors, within the module."""


@runtime_checkable
class WeightPosterior(Protocol):
    """A method that has learnt a distribution over weights."""

    def divergence(self, samples: int, seed: int) -> Divergence:
        """What the distribution costs, priors as they are sent; arguments: of a Monte-Carlo KL."""

    def fixed(self, seed: int | None) -> AbstractContextManager[None]:
        """Within it logits are those of one draw of the weights, or of their means for ``None``."""


@runtime_checkable
class SentPosterior(Protocol):
    """A method that has learnt a distribution over weights, a draw of which can be sent."""

    def standardised(self) -> Standardised | None:
        """The distribution as it looks from its prior; None where the prior is not one of Gaussians."""

    def set_draw(self, draw: Tensor, settings: bytes) -> None:
        """Make a draw, measured like ``standardised``, the means: those of the logits in evaluation."""
