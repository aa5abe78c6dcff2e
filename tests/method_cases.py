"""Every method with the codes that describe it, on few digits and with few steps, in many processes."""

import inspect
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from offline_runs import code_of, method_of
from small_runs import small_code

import ibsuite.callbacks
import ibsuite.methods
from ibsuite.callbacks import PrequentialCode, SaveStretch, StopWhenNotFinite, VariationalCode
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.data import Digits
from ibsuite.methods import CrossEntropy, VariationalSubspace
from ibsuite.nn import MLP, LearnedGaussian

CASES = {
    "prequential": "prequential",
    "float two-part": "floats",
    "two-part": "quantised",
    "network compression": "compressed",
    "network compression, fine-tuned": "finetuned",
    "subspace": "subspace",
    "variational": "variational",
    "variational subspace": "variational_subspace",
    "VIBNet": "pruned",
    "VIBNet, fine-tuned": "pruned_finetuned",
    "Deep VIB": "deep_vib",
    "constrained VIB": "constrained_vib",
    "CEB": "ceb",
    "nonlinear IB": "nonlinear_ib",
    "layer-wise IB": "layerwise",
}
"""A name for people, and the kind as ``offline_runs`` has it."""
METHODS = {getattr(ibsuite.methods, name) for name in ibsuite.methods.__all__}
CODES = {
    thing
    for thing in (getattr(ibsuite.callbacks, name) for name in ibsuite.callbacks.__all__)
    if inspect.isclass(thing) and issubclass(thing, OfflineCode | PrequentialCode)
}


def network() -> MLP:
    """Small, and without batch normalisation, whose statistics are each rank's own."""
    return MLP((1, 8, 8), 10, hidden=(8,))


def adam(parameters: Any) -> torch.optim.Optimizer:
    """What trains."""
    return torch.optim.Adam(parameters, lr=0.02)


def method(case: str) -> Any:
    """The method of a case, untrained."""
    torch.manual_seed(0)
    kind = CASES[case]
    if kind == "prequential":
        return CrossEntropy(network(), adam)
    if kind == "variational_subspace":
        return VariationalSubspace(network(), 40, LearnedGaussian(), optimizer=adam)
    return method_of(kind)


def code(case: str, seed: int = 0, steps: int = 12) -> Any:
    """The code of a case."""
    kind, length = CASES[case], {"min_steps": steps, "max_steps": steps, "seed": seed}
    if kind == "prequential":
        return small_code(block_ends=[40], final_model=False, **length)
    if kind == "variational_subspace":
        return VariationalCode(epochs=1, draws=3, watched=0, **length)
    return code_of("deep_vib" if kind == "nonlinear_ib" else kind, **length)


def fitted(
    run: Path, case: str, world: int = 1, seed: int = 0, steps: int = 12, **given: Any
) -> dict[str, Any]:
    """``codelength.json`` of a run on so many processes; ``given``: a method, data, the trainer's own."""
    made = given.pop("method", None) or method(case)
    data = given.pop("data", None) or Digits(num_labels=100, batch_size=16)
    many: dict[str, Any] = {"devices": world, "strategy": "ddp_fork"} if world > 1 else {"devices": 1}
    L.Trainer(
        **many,
        **given,
        accelerator="cpu",
        callbacks=[code(case, seed, steps), StopWhenNotFinite(), SaveStretch()],
        default_root_dir=run,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        max_epochs=-1,
    ).fit(made, datamodule=data)
    found: dict[str, Any] = json.loads((run / "codelength.json").read_text())
    return found
