"""Blocks that networks have priced: mixed and sent one after another."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ibsuite.callbacks.block_message import SentBlocks
from ibsuite.callbacks.plan import Training
from ibsuite.callbacks.predictions import Predictions
from ibsuite.callbacks.result import write_result


class PricedBlock(NamedTuple):
    """What the networks of a block say of its labels; it depends on no earlier block's networks."""

    training: Training
    """The last of those that were done for the block."""
    logits: Tensor
    """(stops, networks, n, K), float32; of the final model those of all labels, at one stop."""
    hashes: list[str]
    """SHA-256 of each network at each stop."""
    seconds: float
    """Since the run began."""
    test: tuple[Tensor, Tensor] | None = None
    """Logits of the test split under the final model, (networks, n, K), and its labels."""


class Transmission:
    """The codelength of blocks that arrive in order, and the message of their labels.

    Args:
        predictions: mixes and prices them.
        message: passes labels on; None: nothing is written or received.
    """

    def __init__(self, predictions: Predictions, message: SentBlocks | None) -> None:
        self.predictions, self.message = predictions, message

    def add(self, block: PricedBlock) -> dict[str, float]:
        """Mix the next block and pass its labels on; what is to be logged of it."""
        logits = list(block.logits)
        if block.training.final:
            self.predictions.add_final(logits[-1])
            if block.test is not None:
                self.predictions.add_test(*block.test)
            return {}
        if self.message:
            self.message.add_block(self.predictions.networks(logits), self.predictions.state())
        self.predictions.add_block(block.training, logits, block.hashes, block.seconds)
        return self.predictions.logged()

    @property
    def so_far(self) -> str:
        """What the labels have cost."""
        return f"{self.predictions.total_bits:.1f} bit · ratio {self.predictions.compression_ratio:.4f}"

    def write(
        self, run: Path, seed: int, cost: dict[str, float], provenance: dict[str, Any], final_sha256: str
    ) -> None:
        """Write message and result into the run folder.

        Args:
            run: the run folder.
            seed: of the run.
            cost: seconds, optimiser_steps, samples_seen, devices.
            provenance: of who has trained.
            final_sha256: of the parameters at the end of the last training.
        """
        fields = self.predictions.fields()
        if self.message:
            fields |= self.message.write(run, fields["code"], provenance, final_sha256)
        write_result(run, self.predictions.sequence, **fields, cost=cost, seed=seed, **provenance)

    def state_dict(self) -> dict[str, Any]:
        """All that has been priced."""
        counts = self.message.counts if self.message else []
        return {"predictions": self.predictions.state_dict(), "message": counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.predictions.load_state_dict(state["predictions"])
        if self.message:
            self.message.restore(state["message"])
