"""Exact pricing: logits of labels that the network has not been trained on."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from ibsuite.interface import Classifier, LabelledInputs, LabelSequence, Refusal

PRICING_BATCH = 512
"""Fixed, so that ranks take whole batches and every world size does the same arithmetic."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for every submodule, and each one's own mode again afterwards."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes.items():
            child.training = mode


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32 nor kernels that are chosen by timing them."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ):
                yield
    finally:
        torch.set_float32_matmul_precision(precision)


def price(
    trainer: L.Trainer,
    classifier: Classifier,
    sequence: LabelledInputs,
    rows: Tensor,
    views: int = 0,
    batch_size: int = PRICING_BATCH,
) -> Tensor:
    """Logits of the labels at ``rows``, the same on every rank, (n, K), float32, on the CPU.

    Ranks take whole batches in turn; nothing is padded and nothing is priced twice.

    Args:
        trainer: says which rank this is, and adds up over ranks.
        classifier: the LightningModule that gives the logits.
        sequence: gives the inputs. Labels are not looked at.
        rows: positions in coding order, (n,).
        views: number of augmented views beside the input itself.
        batch_size: inputs at a time.
    """
    logits = logits_at(
        classifier, sequence, rows, views, batch_size, (trainer.global_rank, trainer.world_size)
    )
    summed: Tensor = trainer.strategy.reduce(logits, reduce_op="sum") if trainer.world_size > 1 else logits
    return summed.cpu().clone()


def logits_at(
    classifier: Classifier,
    sequence: LabelledInputs,
    rows: Tensor,
    views: int = 0,
    batch_size: int = PRICING_BATCH,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Logits of the inputs at ``rows``, (n, K), float32, on the classifier's device.

    Float32 and in evaluation mode whatever the training precision. With ``views``, the logits are
    averaged over the input as it is and so many augmented views of it: the normalised geometric
    mean of the predictions, which the receiver, who has the inputs, can form as well.

    Args:
        classifier: the LightningModule that gives the logits.
        sequence: gives the inputs. Labels are not looked at.
        rows: positions in coding order, (n,).
        views: number of augmented views beside the input itself.
        batch_size: inputs at a time.
        share: rank and world size; logits of other ranks' batches are zero.
    """
    assert isinstance(classifier, L.LightningModule)
    device = classifier.device
    logits = torch.zeros(len(rows), sequence.num_classes, device=device)
    rank, world = share
    with torch.inference_mode(), full_float32(device), evaluating(classifier):
        for start in range(0, len(rows), batch_size)[rank::world]:
            some = rows[start : start + batch_size]
            for view in range(views + 1):
                x = sequence.inputs(some, device, view)
                logits[start : start + len(some)] += classifier.logits(x).float() / (views + 1)
    return logits


def check_logits(module: Classifier, sequence: LabelSequence) -> None:
    """Refuse a method whose logits could not be priced, before it is trained; two inputs are looked at.

    Raises:
        Refusal: it cannot take the inputs, gives anything but (n, num_classes) numbers, gives
            probabilities, or other numbers the next time.
    """
    assert isinstance(module, L.LightningModule)
    network = getattr(module, "network", module)
    name = type(getattr(network, "network", network)).__name__
    x = sequence.inputs(torch.arange(min(2, sequence.num_labels)), module.device)
    with torch.random.fork_rng(), torch.inference_mode(), evaluating(module):
        try:
            logits, again = module.logits(x), module.logits(x)
        except (RuntimeError, ValueError, IndexError) as error:
            said = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise Refusal(f"{name} cannot take inputs of shape {tuple(x.shape)}: {said[0]}") from error
    wanted = (len(x), sequence.num_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise Refusal(f"{name} gives {found} for inputs of shape {tuple(x.shape)}; logits are {wanted}")
    if (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones(len(x), device=x.device)):
        raise Refusal(f"{name} gives probabilities; leave the softmax out, for logits are what is priced")
    if not torch.allclose(logits, again, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise Refusal(
            f"{name} gives other logits the next time: in evaluation mode nothing may be random (use "
            "nn.Dropout, not functional.dropout)"
        )


def share_buffers(trainer: L.Trainer, module: nn.Module) -> None:
    """Give every rank rank 0's buffers, so that all price with the same batch normalisation."""
    if trainer.world_size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
