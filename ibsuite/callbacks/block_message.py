"""Labels on their way from block to block: the sender's end, and the receiver's."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ibsuite.callbacks.label_message import block_digest, write_message
from ibsuite.callbacks.mixing import Counts, Labels, mix_block
from ibsuite.callbacks.plan import Training
from ibsuite.codes import BlockState, SwitchState
from ibsuite.coding import LabelReceiver, Manifest, integer_probabilities
from ibsuite.interface import LabelSequence, ReceivedLabels, Refusal


class SentBlocks:
    """The sender's end: who has the labels, and keeps the distributions under which they are sent.

    ``counts`` holds those of each block so far, (n, K), int32, in sum 2^24 a label.
    """

    def __init__(self) -> None:
        self.counts: list[Tensor] = []

    def connect(self, sequence: LabelSequence, trainings: Sequence[Training]) -> None:
        """Say which labels are sent, and by which plan."""
        ends = dict.fromkeys(end for training in trainings for end in (training.prefix, training.stop))
        self.sequence, self.ends = sequence, list(ends)

    @property
    def identity(self) -> str:
        """What a run must share with a checkpoint to go on with its labels."""
        return self.sequence.labels_sha256

    def begin(self) -> None:
        """Pass on the first block, which is uniform, unless a resumed run has done so before."""
        if self.counts:
            return
        uniform = integer_probabilities(np.zeros((self.ends[0], self.sequence.num_classes)))
        pass_on = self._labels(0, self.ends[0])
        self._add(uniform, np.array([pass_on(counts) for counts in uniform], dtype=np.int64))

    def add_block(self, networks: Sequence[Tensor], state: SwitchState | BlockState) -> None:
        """Pass on the next block.

        Args:
            networks: log2-probabilities of all classes under every network and temperature, (n, K) each.
            state: of the mixture before the block.
        """
        start, stop = self.ends[len(self.counts) - 1 : len(self.counts) + 1]
        tables = np.ascontiguousarray(torch.stack(list(networks), 1).numpy())
        sent = self.sequence.labels[:start].bincount(minlength=self.sequence.num_classes).numpy()
        self._add(*mix_block(tables, state, sent, self._labels(start, stop)))

    def restore(self, counts: Iterable[Tensor]) -> None:
        """Go on behind blocks that were passed on before."""
        self.counts = list(counts)

    def write(self, run: Path, code: str, provenance: dict[str, Any], final_sha256: str) -> dict[str, int]:
        """Write the message into the run folder; fields of ``codelength.json`` that say how long it is."""
        counts, sequence = torch.cat(self.counts).numpy(), self.sequence
        return write_message(
            run, sequence, code, counts, provenance, schedule=self.ends, final_sha256=final_sha256
        )

    def _labels(self, start: int, stop: int) -> Callable[[Counts], int]:
        """What gives the labels of a block one after another."""
        labels = iter(self.sequence.labels[start:stop].tolist())
        return lambda _: next(labels)

    def _add(self, counts: Counts, labels: Labels) -> None:
        """A block has been passed on."""
        self.counts.append(torch.from_numpy(counts))


class ReceivedBlocks(SentBlocks):
    """The receiver's end: who finds the labels of each block in the message and fills them into the data.

    Args:
        manifest: of the message.
        data: the label stream.
    """

    def __init__(self, manifest: Manifest, data: bytes) -> None:
        super().__init__()
        self.manifest, self.data = manifest, data
        self._stream = LabelReceiver(data)

    def connect(self, sequence: LabelSequence, trainings: Sequence[Training]) -> None:
        """Say which inputs the labels belong to, and what the receiver plans.

        Raises:
            Refusal: labels are known already, or the message has other blocks.
        """
        super().connect(sequence, trainings)
        if not isinstance(sequence, ReceivedLabels) or sequence.receiving is None:
            raise Refusal("a receiver must not have the labels: make its data within data.inputs_only")
        if self.ends != self.manifest.schedule:
            raise Refusal(
                f"the message's blocks end at {self.manifest.schedule}, and its config plans {self.ends}: "
                "get it from the sender again"
            )

    @property
    def identity(self) -> str:
        """What a run must share with a checkpoint to go on with its labels."""
        return f"received from {self.manifest.streams['labels.bin']['sha256']}"

    def restore(self, counts: Iterable[Tensor]) -> None:
        """Receive once more what was received before, which brings the stream to its place."""
        self.counts, self._stream = [], LabelReceiver(self.data)
        for block in counts:
            self._add(block.numpy(), self._received(block.numpy()))

    def finish(self, final_sha256: str) -> None:
        """Compare the parameters at the end.

        Raises:
            Refusal: they are not the sender's.
        """
        if final_sha256 != self.manifest.final_sha256:
            raise Refusal(
                "all labels were decoded, but the parameters at the end are not those of the sender: "
                "the last training went otherwise; decode on a machine of the sender's kind"
            )

    def _labels(self, start: int, stop: int) -> Callable[[Counts], int]:
        return lambda counts: int(self._received(counts)[0])

    def _received(self, counts: Counts) -> Labels:
        try:
            return self._stream.receive(counts)
        except ValueError:
            raise self._wrong() from None

    def _add(self, counts: Counts, labels: Labels) -> None:
        """Check a block by its digest, and fill it in."""
        block, found = len(self.counts), torch.from_numpy(labels)
        if block_digest(found, counts) != self.manifest.block_digests[block]:
            raise self._wrong()
        start = self.ends[block - 1] if block else 0
        assert isinstance(self.sequence, ReceivedLabels)
        self.sequence.fill(start, found)
        super()._add(counts, labels)

    def _wrong(self) -> Refusal:
        block = len(self.counts)
        start = self.ends[block - 1] if block else 0
        return Refusal(
            f"labels {start + 1} to {self.ends[block]} (block {block}) do not come out as they were sent: "
            "this machine does not compute what the sender's did; decode on one of the same kind"
        )
