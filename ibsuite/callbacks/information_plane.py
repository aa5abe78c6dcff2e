"""The information plane: what every layer knows of the inputs and of the labels, along a training."""

import copy
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from ibsuite import record
from ibsuite.callbacks.pricing import PRICING_BATCH, evaluating, full_float32
from ibsuite.callbacks.steps import ends_step
from ibsuite.information import (
    Estimate,
    SeparableCritic,
    architecture_aware,
    mixture_information,
    noisy_outputs,
    noisy_upper,
    train_critic,
)
from ibsuite.interface import Classifier, Coding, LabelSequence, Refusal, TrainedLayerByLayer
from ibsuite.nn import representations
from ibsuite.seeds import derive_seed, generator
from ibsuite.units import nats_to_bits

CRITIC_STEPS = 500
ESTIMATORS = ("kernel", "gaussian", "autoregressive", "critic")


class InformationPlane(L.Callback):
    """I(X; L+eps), I(Y; L+eps) and h(L+eps) of every layer L, in bits, at points along a training.

    L is what a layer hands to the next one that has weights, in evaluation mode; eps is Gaussian noise that
    is there for this measurement only (without it I(X; L) of a deterministic layer is infinite), of the same
    variance for both terms. h(L+eps) = I(X; L+eps) + h(eps). Inputs are some of those that are trained on at
    the time, without distortion: what is said of labels is said of labels that the network has seen.

    Rank 0 looks, by itself, at the network as it is trained: before its weights are averaged, pruned or
    rounded. Training, priced bits and torch's generators are not touched.

    Source: Shwartz-Ziv & Tishby 2017 for the plane; Elad et al. 2019, Sections 2 and 3, for the noise.

    Args:
        mi_xl: estimator of I(X; L+eps). ``kernel``: a lower and an upper bound by the mixture of Gaussians
            around the outputs, the lower one at most log2 of ``samples``; ``gaussian`` or
            ``autoregressive``: an upper bound by a density model; ``critic``: AA-MINE.
        mi_yl: estimator of I(Y; L+eps): ``kernel``: a lower bound by the labels of the outputs around;
            ``critic``: MINE.
        noise_variance: of every coordinate of eps, positive.
        samples: inputs that are looked at, at most.
        looks: points along the run, evenly spread, beside one before the first step.
        embedding: inputs whose L are kept at the last look for t-SNE (``report --embedding``); 0: none.
        seed: of the choice of inputs, of the noise and of critics.

    Raises:
        Refusal: a setting is out of its range, or the network is not a chain of layers.

    | key, with LAYER the name of the layer | meaning |
    |---|---|
    | information/LAYER/mi_xl_lower_bits, .._upper_bits, .._bits | I(X; L+eps): bound or plug-in |
    | information/LAYER/mi_yl_lower_bits, .._bits | I(Y; L+eps) |
    | information/LAYER/h_lower_bits, .._upper_bits, .._bits | h(L+eps), from the same estimate |
    | information/LAYER/.._uncertified_bits | more than the number of samples can support |
    """

    def __init__(
        self,
        mi_xl: Literal["kernel", "gaussian", "autoregressive", "critic"] = "kernel",
        mi_yl: Literal["kernel", "critic"] = "kernel",
        noise_variance: float = 0.1,
        samples: int = 1000,
        looks: int = 20,
        embedding: int = 0,
        seed: int = 0,
    ) -> None:
        if mi_xl not in ESTIMATORS or mi_yl not in ("kernel", "critic"):
            raise Refusal(
                "InformationPlane.mi_xl is kernel, gaussian, autoregressive or critic, and mi_yl kernel or "
                f"critic; got {mi_xl!r} and {mi_yl!r}"
            )
        if not noise_variance > 0:
            raise Refusal(
                f"InformationPlane.noise_variance must be positive, got {noise_variance}: without noise "
                "I(X; L) of a deterministic layer is infinite"
            )
        if samples < 2 or looks < 1 or embedding < 0:
            raise Refusal(
                "InformationPlane.samples must be at least 2, looks at least 1 and embedding at least 0; got "
                f"{samples}, {looks} and {embedding}"
            )
        self.mi_xl, self.mi_yl, self.noise_variance = mi_xl, mi_yl, noise_variance
        self.noise_std = math.sqrt(noise_variance)
        self.samples, self.looks, self.embedding, self.seed = samples, looks, embedding, seed
        self.steps = 0
        self.rows: list[dict[str, Any]] = []

    # When to look

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a network whose layers cannot be told apart, before anything is trained."""
        sequence, network = getattr(trainer, "datamodule", None), getattr(pl_module, "network", None)
        if not isinstance(pl_module, Classifier) or not isinstance(sequence, LabelSequence):
            raise Refusal("InformationPlane needs a method that classifies and labelled data")
        if not isinstance(network, nn.Module):
            name = type(pl_module).__name__
            raise Refusal(f"InformationPlane looks at the layers of a network, and {name} has none")
        try:
            _layer_names(network)
        except Refusal as refusal:
            raise Refusal(f"InformationPlane looks behind the layers of a chain: {refusal}") from None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the untrained network."""
        if not self.steps and not self.rows:
            self._look(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look where another of the evenly spread points has been reached."""
        if not ends_step(trainer, batch_idx):
            return
        self.steps += 1
        total = self._total(trainer)
        if self.steps * self.looks // total > (self.steps - 1) * self.looks // total:
            self._look(trainer, pl_module)

    def _total(self, trainer: L.Trainer) -> int:
        """Batches of the whole run."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Coding):
                return max(1, callback.status().total)
        return max(1, int(trainer.estimated_stepping_batches))

    # Looking

    def _look(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """One row for every layer: to the table, to the loggers."""
        if not trainer.is_global_zero:
            return
        sequence: Any = trainer.datamodule  # type: ignore[attr-defined]
        trained = sequence.stretch.rows if sequence.stretch else torch.arange(sequence.num_labels)
        draws = generator(self.seed, len(trained), 11)
        rows = trained[torch.randperm(len(trained), generator=draws)[: self.samples]]
        if len(rows) < 2:
            return
        labels = sequence.labels[rows]
        # Not inference mode: critics are trained on what is found.
        with torch.no_grad(), full_float32(module.device), evaluating(module):
            found = self._outputs(module, sequence, rows)
        logged: dict[str, float] = {}
        for layer, (name, centres) in enumerate(found.items()):
            figures = self._figures(centres, labels.to(centres.device), sequence.num_classes, layer)
            where = {"step": self.steps, "labels": len(trained), "layer": name, "width": centres.shape[1]}
            self.rows.append(
                {**where, "noise_variance": self.noise_variance, "samples": len(rows), **figures}
            )
            logged |= {f"information/{name}/{key}": bits for key, bits in figures.items()}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=trainer.global_step)
        folder = Path(trainer.default_root_dir)
        record.write_csv(folder / record.INFORMATION, self.rows)
        if self.embedding and self.steps >= self._total(trainer):
            kept = {name: centres[: self.embedding].float().cpu().numpy() for name, centres in found.items()}
            shown: Any = {f"layer {name}": values for name, values in kept.items()}
            np.savez_compressed(folder / record.EMBEDDING, labels=labels[: self.embedding].numpy(), **shown)

    def _outputs(self, module: L.LightningModule, sequence: LabelSequence, rows: Tensor) -> dict[str, Tensor]:
        """L of every layer by its name, (n, width): what the next layer with weights is given."""
        assert isinstance(module, Classifier)
        network: nn.Module = module.network  # type: ignore[assignment]
        names = _layer_names(network)
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        # Taken on its way: the method may call the network with other weights than those that it holds.
        handles = [
            network.get_submodule(after).register_forward_pre_hook(
                lambda _, given, name=before: found[name].append(given[0].flatten(1))
            )
            for before, after in pairwise(names)
        ]
        last = found[names[-1]]
        handles.append(network.register_forward_hook(lambda _, __, out: last.append(out.flatten(1))))
        try:
            for some in rows.split(PRICING_BATCH):
                before, x = len(last), sequence.inputs(some, module.device)
                # Logits of a method that trains layer by layer are those of a critic before it has ended.
                logits = network(x) if isinstance(module, TrainedLayerByLayer) else module.logits(x)
                if len(last) == before:  # the method calls the layers itself
                    last.append(logits)
        finally:
            for handle in handles:
                handle.remove()
        return {name: torch.cat(parts).float() for name, parts in found.items() if parts}

    def _figures(self, centres: Tensor, labels: Tensor, classes: int, layer: int) -> dict[str, float]:
        """Bits of one layer by their names."""
        t = noisy_outputs(centres, self.noise_std, derive_seed(self.seed, 12, layer))
        mixture = mixture_information(centres, t, self.noise_std, labels, classes)
        of_inputs, of_labels = [mixture.mi_xt_lower, mixture.mi_xt_upper], mixture.mi_yt_lower
        try:
            if self.mi_xl != "kernel":
                of_inputs = [self._of_inputs(centres, t)]
            if self.mi_yl == "critic":
                of_labels = self._of_labels(t, labels, classes)
        except ValueError as error:  # few labels have been sent as yet: monitoring stops no run
            rank_zero_warn(f"InformationPlane leaves a layer of {centres.shape[1]} out: {error}")
            return {}
        noise_bits = nats_to_bits(0.5 * math.log(2 * math.pi * math.e * self.noise_std**2)) * centres.shape[1]
        figures = {estimate.field("mi_xl"): estimate.heldout_bits for estimate in of_inputs}
        figures |= {estimate.field("h"): estimate.heldout_bits + noise_bits for estimate in of_inputs}
        figures[of_labels.field("mi_yl")] = of_labels.heldout_bits
        return {name: bits for name, bits in figures.items() if math.isfinite(bits)}

    def _of_inputs(self, centres: Tensor, t: Tensor) -> Estimate:
        if self.mi_xl == "critic":
            # F(x) has been computed: the layers that the critic would hold have nothing left to do.
            held = nn.Identity()
            return architecture_aware(
                held, centres, self.noise_std, seed=self.seed, max_steps=CRITIC_STEPS
            ).estimate
        covariance = self.noise_variance * torch.eye(t.shape[1])
        return noisy_upper(t, covariance, self.mi_xl, self.seed)

    def _of_labels(self, t: Tensor, labels: Tensor, classes: int) -> Estimate:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, 13))
            critic = SeparableCritic(classes, t.shape[1]).to(t.device)
        known = nn.functional.one_hot(labels, classes)
        return train_critic(known, t, "mine", critic, self.seed, max_steps=CRITIC_STEPS).estimate

    # Resuming

    def state_dict(self) -> dict[str, Any]:
        """What has been seen so far."""
        return {"steps": self.steps, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.steps, self.rows = state_dict["steps"], state_dict["rows"]


def _layer_names(network: nn.Module) -> list[str]:
    """Names of the layers with weights, in the order in which an input passes them; a Refusal if no chain."""
    plain = copy.deepcopy(network)
    for module in plain.modules():  # where weights are computed, a method may hold them as buffers
        for name in {"weight", "bias"} & set(module._buffers):
            value = module._buffers.pop(name)
            module.register_parameter(name, None if value is None else nn.Parameter(value))
    return [name for name, _ in representations(plain)]
