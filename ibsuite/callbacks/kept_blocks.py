"""Some blocks of a run, priced and kept in a file until all are there to be mixed."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ibsuite import record
from ibsuite.callbacks.plan import Training
from ibsuite.callbacks.result import peak_memory_bytes
from ibsuite.callbacks.transmission import PricedBlock
from ibsuite.codes import codelength_bits
from ibsuite.interface import LabelSequence, Refusal


class KeptBlocks:
    """Blocks as they were priced, unmixed: what a run of ``code.blocks=a:b`` leaves.

    Args:
        sequence: the labels.
        plan: every training of the whole run.
    """

    def __init__(self, sequence: LabelSequence, plan: Sequence[Training]) -> None:
        self.sequence, self.plan = sequence, plan
        self.blocks: list[PricedBlock] = []

    def add(self, block: PricedBlock) -> dict[str, float]:
        """Keep a block; what is to be logged of it."""
        self.blocks.append(block)
        training = block.training
        if training.final:
            return {}
        labels = self.sequence.labels[training.prefix : training.stop]
        bits = codelength_bits(block.logits[-1], labels)
        return {"labels_sent": float(training.stop), "code/final_epoch_bits": bits}

    @property
    def so_far(self) -> str:
        """How many blocks are there."""
        return f"{len(self.blocks)} priced, to be merged"

    def write(
        self, run: Path, seed: int, cost: dict[str, float], provenance: dict[str, Any], final_sha256: str
    ) -> None:
        """Write ``priced.safetensors`` into the folder of these blocks; arguments: as of a whole run."""
        tensors, blocks = self._tensors()
        document = {
            "schema": record.SCHEMA,
            "run": run.parent.parent.name,
            "shared": shared(self.sequence, self.plan),
            "blocks": blocks,
            "seed": seed,
            "cost": {**cost, "peak_memory_bytes": peak_memory_bytes()},
            "provenance": provenance,
            "final_sha256": final_sha256,
        }
        document["sha256"] = _sha256(tensors, document)
        run.mkdir(parents=True, exist_ok=True)
        temporary = run / f"{record.PRICED}.part"
        temporary.write_bytes(save(tensors, {"ibsuite": json.dumps(document)}))
        temporary.replace(run / record.PRICED)

    def state_dict(self) -> dict[str, Any]:
        """All that has been priced."""
        tensors, blocks = self._tensors()
        return {"tensors": tensors, "blocks": blocks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.blocks = _blocks(state["tensors"], state["blocks"], self.plan)

    def _tensors(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        """The blocks as named tensors, and the rest of them in plain values."""
        tensors, rows = {}, []
        for block in self.blocks:
            number = block.training.block
            tensors[f"{number}.logits"] = block.logits.contiguous()
            if block.test is not None:
                tensors[f"{number}.test_logits"], tensors[f"{number}.test_labels"] = block.test
            rows.append({"block": number, "hashes": block.hashes, "seconds": block.seconds})
        return tensors, rows


def shared(sequence: LabelSequence, plan: Sequence[Training]) -> dict[str, str]:
    """What all blocks of a run have in common, by the words that a refusal has for it.

    Settings are not among them: they are in the name of the run folder.
    """
    trainings = hashlib.sha256(str(plan).encode()).hexdigest()
    return {"inputs": sequence.order_sha256, "labels": sequence.labels_sha256, "trainings": trainings}


class Kept(NamedTuple):
    """What one run of some blocks has left."""

    folder: Path
    document: dict[str, Any]
    """run, shared, blocks, seed, cost, provenance, final_sha256."""
    tensors: dict[str, Tensor]

    @property
    def numbers(self) -> list[int]:
        """Which blocks they are."""
        return [row["block"] for row in self.document["blocks"]]

    def blocks(self, plan: Sequence[Training]) -> list[PricedBlock]:
        """The blocks themselves."""
        return _blocks(self.tensors, self.document["blocks"], plan)


def read_kept(folder: Path) -> Kept:
    """Read ``priced.safetensors`` of a folder.

    Raises:
        Refusal: it is cut off, altered or of another version.
    """
    path = folder / record.PRICED
    data = path.read_bytes()
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        document = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["ibsuite"])
        whole = document["schema"] == record.SCHEMA and document["sha256"] == _sha256(tensors, document)
    except (SafetensorError, ValueError, KeyError):
        whole = False
    if not whole:
        raise Refusal(f"{path} is cut off, altered or of another version: copy it again, or run it again")
    return Kept(folder, document, tensors)


def _blocks(
    tensors: dict[str, Tensor], rows: Sequence[dict[str, Any]], plan: Sequence[Training]
) -> list[PricedBlock]:
    trainings = {training.block: training for training in plan}
    blocks = []
    for row in rows:
        logits, *test = (
            tensors[f"{row['block']}.{name}"]
            for name in ("logits", "test_logits", "test_labels")
            if f"{row['block']}.{name}" in tensors
        )
        training = trainings[row["block"]]
        given = (test[0], test[1]) if test else None
        blocks.append(PricedBlock(training, logits, row["hashes"], row["seconds"], given))
    return blocks


def _sha256(tensors: dict[str, Tensor], document: dict[str, Any]) -> str:
    told = {name: value for name, value in document.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
