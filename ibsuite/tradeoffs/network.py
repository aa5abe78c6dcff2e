"""A trained network about to be compressed: its tensors, its logits, and what its weights matter."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite.callbacks.pricing import logits_at
from ibsuite.callbacks.sent import load_weights, sent_tensors
from ibsuite.compression import OBJECTIVES, Moments, importance, layer_grams, weight_moments
from ibsuite.interface import (
    Classifier,
    Coordinates,
    GatedUnits,
    LabelledInputs,
    LabelSequence,
    Message,
    QuantisedMethod,
    Refusal,
    StochasticRepresentation,
    WeightPosterior,
)
from ibsuite.tradeoffs.objectives import Objective, OptimalBrain, Scope, Weighted

UNSCALED = ("baseline", "regression", "optimal_brain")
"""Objectives in which no softmax, and so no temperature, occurs."""
DAMPED = ("hessian", "gradient_hessian")
"""Objectives to whose curvature a constant is added."""
OTHER_MODELS = (QuantisedMethod, WeightPosterior, Coordinates, GatedUnits, StochasticRepresentation)
"""Methods whose trained tensors are not simply the weights of a network, or not of the one in the config."""


@dataclass
class TrainedNetwork:
    """A trained method, the labels it was trained on, and how its weights are looked at.

    Args:
        method: the LightningModule, as it ended.
        data: the labels; the last ``held_out`` of them were never trained on.
        held_out: by these temperature and damping are chosen.
        samples: the first so many labels that were trained on say what weights matter; None: all.
        scope: see ``Weighted``.
        curvature: how Hessian diagonals are found; see ``weight_moments``.
        probes: random probes of a sample for a curvature that is not exact.
        seed: of the probes.
        objectives: those that will be asked for.
        views: augmented views of each input over which logits are averaged, as when it was trained.

    Raises:
        Refusal: the method is no plain network; there are fewer labels than ``samples``.
    """

    method: L.LightningModule
    data: LabelSequence
    held_out: int = 0
    samples: int | None = None
    scope: Scope = "tensor"
    curvature: Literal["exact", "propagation", "hutchinson"] = "exact"
    probes: int = 2
    seed: int = 0
    objectives: Sequence[str] = tuple(OBJECTIVES)
    views: int = 0
    _moments: dict[float, Moments] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.method, Classifier) or isinstance(self.method, OTHER_MODELS):
            raise Refusal(
                f"{type(self.method).__name__} cannot be pruned or quantised afterwards; compress a "
                "network that was trained by CrossEntropy"
            )
        self.trained = sent_tensors(self.method)
        self.weights = [n for n, t in self.trained.items() if t.ndim > 1 and n not in self.trained.buffers]
        most = self.data.num_labels - self.held_out
        if self.samples is not None and not 1 <= self.samples <= most:
            raise Refusal(f"--samples={self.samples} must lie between 1 and {most}, the labels trained on")

    @property
    def rows(self) -> Tensor:
        """Positions of the labels by which importance is judged."""
        return torch.arange(self.samples or self.data.num_labels - self.held_out)

    def moments(self, temperature: float) -> Moments:
        """Of every weight's derivatives, at a temperature; found once."""
        if temperature not in self._moments:
            self.restore()
            wanted = {moment for name in self.objectives for moment in OBJECTIVES.get(name, ())}  # type: ignore
            found = weight_moments(
                self.method,
                self.data,
                self.rows,
                temperature=temperature,
                moments=wanted,
                curvature=self.curvature,
                probes=self.probes,
                seed=self.seed,
            )
            self._moments[temperature] = found
        return self._moments[temperature]

    def probing(self, objective: str, temperature: float) -> dict[str, float]:
        """How many random probes of a sample an objective's curvature rests on, and its relative error."""
        if objective not in DAMPED or self.curvature == "exact":
            return {}
        found = self.moments(temperature)
        return {"probes": float(found.probes), "curvature_error": found.curvature_error}

    @cached_property
    def optimal_brain(self) -> OptimalBrain:
        """The layer-wise baseline, with the layers' inputs."""
        self.restore()
        grams = layer_grams(self.method, self.data, self.rows)
        self._check_found(grams)
        return OptimalBrain(grams)

    def objective(self, name: str, temperature: float, mu: float) -> Objective:
        """An objective by its name."""
        if name == "optimal_brain":
            return self.optimal_brain
        found = importance(self.moments(temperature), name, mu)  # type: ignore[arg-type]
        self._check_found(found.quadratic)
        return Weighted(found, self.scope)

    def _check_found(self, found: Collection[str]) -> None:
        if missing := [name for name in self.weights if name not in found]:
            raise Refusal(
                f"nobody can say what {missing[0]} matters: it is no weight of a linear or convolution layer "
                "through which the logits pass; compress a network without it"
            )

    def selected(self, names: list[str]) -> dict[str, Tensor]:
        """The trained tensors of these names."""
        return {name: self.trained[name] for name in names}

    def logits(
        self, data: LabelledInputs, message: Message | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Logits under a message as its receiver reads it, or of the network as it was, (n, K), on the CPU.

        Args:
            data: gives the inputs.
            message: what the receiver has of the network; None: all of it.
            rows: positions of the inputs; None: all.
        """
        self.restore()
        if message is not None:
            load_weights(self.method, message)
        assert isinstance(self.method, Classifier)
        rows = torch.arange(data.num_labels) if rows is None else rows
        return logits_at(self.method, data, rows, self.views).cpu()

    def restore(self) -> None:
        """Put the trained tensors back."""
        load_weights(self.method, self.trained)
