"""Processes that torchrun or SLURM have started, and how a method's steps are taken in them."""

import os
import warnings
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from ibsuite.interface import Refusal

NOBODY_CHOSE = (1, "1", -1, "-1", "auto")
"""Numbers of devices and nodes that packaged configs and Lightning hold: the launcher's own replace them."""


class Launched(NamedTuple):
    """What a launcher has started."""

    by: str
    devices: int
    """Processes on each node."""
    num_nodes: int


def launcher() -> Launched | None:
    """Who has started this process and its like; None where Lightning starts them itself."""
    if TorchElasticEnvironment.detect():  # also within a SLURM job
        here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        if everywhere % here:
            raise Refusal("torchrun: every node needs as many processes as the others (--nproc_per_node)")
        return Launched("torchrun", here, everywhere // here)
    if not SLURMEnvironment.detect():
        return None
    tasks, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", 1))
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise Refusal(
            f"SLURM: ask for --ntasks-per-node={max(1, tasks // nodes)} in place of --ntasks={tasks}"
        )
    return Launched("SLURM", int(os.environ.get("SLURM_NTASKS_PER_NODE", 1)), nodes)


def match_launcher(trainer: Any, typed: list[str]) -> None:
    """Set ``trainer.devices`` and ``trainer.num_nodes`` to what a launcher has started.

    Args:
        trainer: settings of the trainer, changed in place.
        typed: what the user typed.

    Raises:
        Refusal: they were set to something else.
    """
    found = launcher()
    if found is None:
        return
    for name, count in (("devices", found.devices), ("num_nodes", found.num_nodes)):
        said = len(trainer[name]) if isinstance(trainer[name], list) else trainer[name]
        chosen = said not in NOBODY_CHOSE or any(arg.startswith(f"--trainer.{name}") for arg in typed)
        if chosen and str(said) != str(count):
            counted = "processes a node" if name == "devices" else "nodes"
            raise Refusal(
                f"trainer.{name}={said}, but {found.by} has started {count} {counted}: leave it out"
            )
        if not isinstance(trainer[name], list):
            trainer[name] = count


def check_steps(method: L.LightningModule, trainer: Any, compiled: bool) -> None:
    """Refuse what a method's steps cannot do.

    Args:
        method: what is trained.
        trainer: settings of the trainer.
        compiled: whether its steps shall be compiled.
    """
    pieces = trainer["accumulate_grad_batches"]
    if pieces < 1:
        raise Refusal(f"trainer.accumulate_grad_batches must be 1 or more, got {pieces}")
    wanted = {
        "without clipping: leave trainer.gradient_clip_val": trainer["gradient_clip_val"],
        "on the whole batch: leave trainer.accumulate_grad_batches": pieces > 1,
        "uncompiled: leave --compile": compiled,
    }
    for how, asked in wanted.items():
        if asked and not method.automatic_optimization:
            raise Refusal(f"{type(method).__name__} steps its optimisers itself, {how} out")


def compile_steps(method: L.LightningModule, backend: str = "inductor") -> None:
    """Compile a method's training steps, and nothing else.

    Parameters, their names and whatever prices stay as they are: ``training_step`` is all that is replaced.
    What of it torch cannot compile is run as it is.

    Args:
        method: what is trained.
        backend: one of torch's compilers.
    """
    # The compiler looks at the gradient of whatever passes a break of its graph, and warns of its own look.
    warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
    method.training_step = torch.compile(method.training_step, backend=backend)  # type: ignore[method-assign]
