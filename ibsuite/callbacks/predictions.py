"""What every predictor said about every label, and what the mixture makes of it."""

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibsuite.callbacks.plan import Training
from ibsuite.codes import (
    BlockState,
    Mixture,
    SwitchState,
    block_mixture,
    class_frequency_log2_probs,
    codelength_bits,
    free_minimum_bits,
    hindsight_switch_bits,
    log2_probabilities,
    switch_distribution,
    uniform_bits,
)
from ibsuite.interface import LabelSequence

MixtureName = Literal["switch", "block"]


class Predictions:
    """Log2-probabilities of all labels after the first block under all predictors.

    Predictors are numbered stop by stop, temperatures within; the uniform and the class-frequency
    predictor come last. Everything here is float64 on the CPU and the same on every rank.

    Args:
        sequence: labels in coding order.
        trainings: the plan of the run.
        stops: stopping times a block.
        temperatures: grid at each stop.
        mixture: how predictors are mixed; None: the last stop alone is the code.
        settings_compared: log2 of it is charged as ``choices``.
    """

    def __init__(
        self,
        sequence: LabelSequence,
        trainings: list[Training],
        stops: int,
        temperatures: list[float],
        mixture: MixtureName | None,
        settings_compared: int = 1,
    ) -> None:
        self.sequence = sequence
        self.stops, self.temperatures, self.mixture_name = stops, temperatures, mixture
        self.settings_compared = settings_compared
        self.choice_bits = math.log2(settings_compared)
        self.num_classes, self.first = sequence.num_classes, trainings[0].prefix
        self.names = [f"stop {s + 1} of {stops}, T={t:g}" for s in range(stops) for t in temperatures]
        if mixture is not None:
            self.names += ["uniform", "class frequency"]
        self.blocks: list[Tensor] = []  # (predictors, labels of the block), bits
        self.starts: list[int] = []  # of each priced block, counted from the end of the first block
        self.plain: list[float] = []  # bits of each block under the last stop at T = 1
        self.rows: list[dict[str, Any]] = [self._first_row()]
        self.model_hashes: list[list[str]] = []
        self.final_label_bits: float | None = None
        self.test: dict[str, float] | None = None

    def add_block(self, training: Training, logits: list[Tensor], hashes: list[str], seconds: float) -> None:
        """Add the block that a training has priced.

        Args:
            training: which block.
            logits: at each stop, (n, K) or (networks, n, K).
            hashes: SHA-256 of each network at each stop.
            seconds: since the run began.
        """
        labels = self.sequence.labels[training.prefix : training.stop]
        every = self.distributions(training, logits)
        priced = torch.stack([table.gather(1, labels[:, None])[:, 0] for table in every])
        self.blocks.append(priced)
        self.starts.append(training.prefix - self.first)
        self.plain.append(-float(log2_probabilities(logits[-1]).gather(1, labels[:, None]).sum()))
        self.model_hashes.append(hashes)
        mixture = self.mixture()
        mixed = self.mix(every, mixture.weights[:, -len(labels) :])
        bits = -float(mixture.log2_probs[-len(labels) :].sum())
        self.rows.append(
            self._row(
                training.block,
                training.prefix,
                training.stop,
                bits,
                float((mixed.argmax(1) == labels).double().mean()),
                self.plain[-1],
                training.steps,
                seconds,
            )
        )

    def distributions(self, training: Training, logits: list[Tensor]) -> list[Tensor]:
        """Log2-probabilities of all classes under every predictor, each (n, K); the labels are known."""
        every = self.networks(logits)
        if self.mixture_name is not None:
            sent = self.sequence.labels[: training.stop]
            counts = class_frequency_log2_probs(sent, self.num_classes)[training.prefix :]
            every += [torch.full_like(counts, -math.log2(self.num_classes)), counts]
        return every

    def networks(self, logits: list[Tensor]) -> list[Tensor]:
        """The same under the networks alone, which say what they say before any label is known."""
        return [log2_probabilities(at, t) for at in logits for t in self.temperatures]

    def state(self) -> SwitchState | BlockState:
        """The mixture before the next block; found anew from what was priced, so resuming changes nothing."""
        if self.mixture_name != "switch":
            return BlockState(len(self.names))
        state = SwitchState(len(self.names))
        for label in np.ascontiguousarray(self.log2_probs.T) if self.blocks else ():
            state.update(label)
        return state

    def add_final(self, logits: Tensor) -> None:
        """Label bits of the final model, mixed over the temperatures like those of a block.

        Args:
            logits: of every label, (n, K) or (networks, n, K).
        """
        labels = self.sequence.labels[:, None]
        priced = [log2_probabilities(logits, t).gather(1, labels)[:, 0] for t in self.temperatures]
        self.final_label_bits = block_mixture(torch.stack(priced).numpy(), [0]).bits

    def add_test(self, logits: Tensor, labels: Tensor) -> None:
        """Test figures, at the temperature that the labels have shown to be the best last stop's.

        Args:
            logits: of the test split under the final model, (n, K) or (networks, n, K).
            labels: of the test split, (n,).
        """
        last = self.mixture().weights[:, -1][: self.stops * len(self.temperatures)]
        temperature = self.temperatures[int(last[-len(self.temperatures) :].argmax())]
        self.test = {
            "accuracy": float((log2_probabilities(logits, temperature).argmax(1) == labels).double().mean()),
            "nll_bits": codelength_bits(logits, labels, temperature),
            "temperature": temperature,
        }

    @staticmethod
    def mix(every: list[Tensor], weights: NDArray[np.float64]) -> Tensor:
        """The mixture's probabilities of all classes, (n, K): what a receiver decodes with."""
        mixed = torch.zeros_like(every[0])
        for table, weight in zip(every, weights, strict=True):
            mixed += torch.from_numpy(weight.copy())[:, None] * torch.exp2(table)
        return mixed

    def mixture(self) -> Mixture:
        """The mixture over all labels priced so far (the first block is not among them)."""
        return self._mix_with(self.mixture_name)

    def _mix_with(self, name: MixtureName | None) -> Mixture:
        log2_probs = self.log2_probs
        if name == "switch":
            return switch_distribution(log2_probs)
        return block_mixture(log2_probs, self.starts)  # of one predictor: that predictor

    @property
    def log2_probs(self) -> NDArray[np.float64]:
        """(predictors, labels priced so far), bits."""
        return torch.cat(self.blocks, dim=1).numpy()

    # Charges and readings

    @property
    def charges(self) -> dict[str, float]:
        """Named parts of the total so far, bits."""
        charges = {
            "first_block": uniform_bits(self.first, self.num_classes),
            "labels": math.fsum(row["bits"] for row in self.rows[1:]),
        }
        if self.settings_compared > 1:
            charges["choices"] = self.choice_bits
        return charges

    @property
    def total_bits(self) -> float:
        """Everything charged so far, bits."""
        return math.fsum(self.charges.values())

    @property
    def compression_ratio(self) -> float:
        """Total over uniform for the labels sent so far."""
        return self.total_bits / uniform_bits(self.rows[-1]["stop"], self.num_classes)

    def logged(self) -> dict[str, float]:
        """What is logged of the last block; the keys are those of ``PrequentialCode``.

        A sum over labels sent is least at its first value. What can be compared while a run goes on is
        the length of all labels if learning stopped here, the rest being sent by the uniform code.
        """
        row, n = self.rows[-1], self.sequence.num_labels
        total = self.total_bits + uniform_bits(n - row["stop"], self.num_classes)
        return {
            "labels_sent": float(row["stop"]),
            "code/block_bits": row["bits"],
            "code/bits_per_label": row["bits_per_label"],
            "code/accuracy": row["accuracy"],
            "code/sent_bits": self.total_bits,
            "code/total_bits": total,
            "code/compression_ratio": total / uniform_bits(n, self.num_classes),
            **{f"code/{name}_bits": bits for name, bits in self.charges.items()},
        }

    def compared(self) -> dict[str, float]:
        """What other readings of the same run would have claimed, bits; first block and choices included."""
        first, networks = (
            self.charges["first_block"] + self.choice_bits,
            self.log2_probs[: self.stops * len(self.temperatures)],
        )
        compared = {"final_epoch_bits": first + math.fsum(self.plain)}
        if self.mixture_name is not None:
            compared |= {
                "switch_mixture_bits": first + self._mix_with("switch").bits,
                "block_mixture_bits": first + self._mix_with("block").bits,
                "free_minimum_bits": first + free_minimum_bits(networks, self.starts),
                "hindsight_switch_bits": first + hindsight_switch_bits(self.log2_probs, self.starts),
            }
        return compared

    def fields(self) -> dict[str, Any]:
        """What the run has found, for ``write_result``; every predictor so that runs can be mixed later."""
        first = np.full((len(self.names), self.first), -np.log2(self.num_classes))
        labels = {
            "log2_probs": np.concatenate([first, self.log2_probs], axis=1),
            "names": self.names,
            "mixture_log2_probs": np.concatenate([first[0], self.mixture().log2_probs]),
            "block_starts": [row["start"] for row in self.rows],
            "model_sha256": self.model_hashes,
        }
        given = self.final_label_bits
        return {
            "code": "prequential" if self.mixture_name is None else "self_switch",
            "charges": self.charges,
            "compared": self.compared(),
            "parts": self.rows,
            "curve": self.rows,
            "labels": labels,
            "model_information_bits": None if given is None else self.total_bits - given,
            "test": self.test,
        }

    # Rows of curve.csv

    def _first_row(self) -> dict[str, Any]:
        bits = uniform_bits(self.first, self.num_classes)
        self.rows = []
        return self._row(0, 0, self.first, bits, 1 / self.num_classes, bits, 0, 0.0)

    def _row(
        self,
        block: int,
        start: int,
        stop: int,
        bits: float,
        accuracy: float,
        plain: float,
        steps: int,
        seconds: float,
    ) -> dict[str, Any]:
        cumulative = math.fsum([self.choice_bits, *(row["bits"] for row in self.rows), bits])
        return {
            "block": block,
            "start": start,
            "stop": stop,
            "bits": bits,
            "bits_per_label": bits / (stop - start),
            "cumulative_bits": cumulative,
            "uniform_bits": uniform_bits(stop - start, self.num_classes),
            "ratio": cumulative / uniform_bits(stop, self.num_classes),
            "accuracy": accuracy,
            "final_epoch_bits": plain,
            "steps": steps,
            "seconds": seconds,
        }

    # Resuming

    def state_dict(self) -> dict[str, Any]:
        """All that has been priced."""
        kept = ("blocks", "starts", "plain", "rows", "model_hashes", "final_label_bits", "test")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        for name, value in state.items():
            setattr(self, name, value)
