"""The message of a run: the labels as a file, under probabilities that the receiver finds, and a manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from ibsuite import record
from ibsuite.callbacks.result import provenance
from ibsuite.coding import LabelSender, Manifest
from ibsuite.interface import LabelSequence

DECISIVE = (
    "devices",
    "num_nodes",
    "accumulate_grad_batches",
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "sync_batchnorm",
    "callbacks",
)
"""Settings of the trainer that a receiver has to share."""
VERSIONS = ("ibsuite", "torch", "numpy", "constriction", "python")
NOT_TOLD = ("root", "download", "random_labels", "label_seed")
"""Settings of the data that say where they lie, or by which seed their labels were drawn."""


def write_message(
    run: Path,
    sequence: LabelSequence,
    code: str,
    counts: NDArray[np.int32],
    made_by: Mapping[str, Any],
    *,
    config: Path | None = None,
    schedule: Sequence[int] = (),
    temperature: float = 1.0,
    weights: bytes | None = None,
    final_sha256: str | None = None,
) -> dict[str, int]:
    """Write ``message/``: ``labels.bin``, ``manifest.json`` and, where there are weights, ``weights.bin``.

    Returns:
        ``measured_bits`` of the streams, and ``manifest_bits``; no manifest where there is no config.

    Args:
        run: the run folder.
        sequence: the labels.
        code: which code, as in ``codelength.json``.
        counts: integer probabilities of all classes for every label, as the receiver will find them, (n, K).
        made_by: ``provenance`` of the run.
        config: of the run that the receiver has to build; None: that of this run.
        schedule: ends of the blocks, where labels were sent in blocks.
        temperature: divides the logits.
        weights: the network as bytes.
        final_sha256: of the parameters at the end of the receiver's training.
    """
    folder = run / record.MESSAGE
    folder.mkdir(parents=True, exist_ok=True)
    sender = LabelSender()
    sender.send(sequence.labels, counts)
    files = {record.LABEL_STREAM: sender.data()}
    if weights is not None:
        files[record.WEIGHTS] = weights
    for name, data in files.items():
        (run / name).write_bytes(data)
    measured = {"measured_bits": 8 * sum(len(data) for data in files.values())}
    config = config or run / record.CONFIG
    if not config.is_file():  # a fit from Python: nobody else could build its receiver
        return measured
    ends = [*schedule] or [sequence.num_labels]
    manifest = Manifest(
        data={
            "name": sequence.name,
            "num_labels": sequence.num_labels,
            "num_classes": sequence.num_classes,
            "order_seed": sequence.order_seed,
            "inputs_sha256": sequence.order_sha256,
        },
        code=code,
        config=_decisive(config),
        **process(made_by["versions"]),
        schedule=list(schedule),
        temperature=temperature,
        streams={
            Path(name).name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
        block_digests=[
            block_digest(sequence.labels[start:stop], counts[start:stop] if schedule else None)
            for start, stop in zip([0, *ends[:-1]], ends, strict=True)
        ],
        final_sha256=final_sha256,
    ).to_bytes()
    (run / record.MANIFEST).write_bytes(manifest)
    return {**measured, "manifest_bits": 8 * len(manifest)}


def process(versions: Mapping[str, str]) -> dict[str, Any]:
    """What of a process decides the bits of its arithmetic, as the manifest has it."""
    return {
        "versions": {name: versions[name] for name in VERSIONS},
        "platform": {name: versions[name] for name in ("platform", "device")},
        "threads": int(versions["threads"]),
    }


def differences(manifest: Manifest, device: torch.device) -> list[str]:
    """Where this process differs from the sender's, in words; it can use as many threads."""
    here = process(provenance(device)["versions"])
    return manifest.differences({**here, "threads": manifest.threads})


def block_digest(labels: torch.Tensor, counts: NDArray[np.int32] | None = None) -> str:
    """Eight hex digits by which the receiver knows that a block of labels was decoded rightly.

    Args:
        labels: of the block.
        counts: their distributions, where these have to be right as well: a stream shows only some labels
            later that a receiver computes otherwise than the sender, and blocks are to be trained on.
    """
    digest = hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes())
    if counts is not None:
        digest.update(counts.astype("<i4").tobytes())
    return digest.hexdigest()[:8]


def parameters_sha256(module: nn.Module) -> str:
    """Hash of all parameters and buffers, by their names and bytes."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _decisive(path: Path) -> dict[str, Any]:
    """What of a run's config decides its predictions."""
    config = yaml.safe_load(path.read_text())
    kept = {name: config[name] for name in ("seed_everything", "threads", "data", "model", "code")}
    kept["compile"] = config.get("compile", False)
    for name in NOT_TOLD:
        kept["data"].get("init_args", {}).pop(name, None)
    trainer = config["trainer"]
    kept["trainer"] = {name: trainer[name] for name in DECISIVE if trainer.get(name) is not None}
    return kept
