"""The receiver: labels out of a message and inputs, by the very steps that the sender took."""

from pathlib import Path

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite import record
from ibsuite.callbacks.label_message import block_digest
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.callbacks.pricing import logits_at
from ibsuite.codes import log2_probabilities
from ibsuite.coding import LabelReceiver, Manifest, integer_probabilities
from ibsuite.interface import Classifier, LabelSequence, Refusal

ELSEWHERE = (
    "this machine does not find the probabilities of the sender's; decode on the same kind of machine, with "
    "the same versions and number of threads"
)


def receive_two_part(
    code: OfflineCode, module: L.LightningModule, data: LabelSequence, manifest: Manifest, run: Path
) -> Tensor:
    """Labels of a two-part message: the network from ``weights.bin``, then the labels under it, (n,), int64.

    Args:
        code: of the run.
        module: the method, untrained.
        data: the inputs.
        manifest: of the message, already checked against its streams.
        run: the folder that holds ``message/``.

    Raises:
        Refusal: the labels are not the sender's.
        ValueError: the weight stream cannot be read.
    """
    code.receive(module, (run / record.WEIGHTS).read_bytes())
    assert isinstance(module, Classifier)
    logits = logits_at(module, data, torch.arange(data.num_labels), code.views).cpu()
    counts = integer_probabilities(log2_probabilities(logits, manifest.temperature))
    try:
        labels = torch.from_numpy(LabelReceiver((run / record.LABEL_STREAM).read_bytes()).receive(counts))
    except ValueError:  # no label has such bytes under these counts
        raise Refusal(f"the labels cannot be read: {ELSEWHERE}") from None
    if [block_digest(labels)] != manifest.block_digests:
        raise Refusal(f"the labels do not come out as they were sent: {ELSEWHERE}")
    return labels
