"""``ibsuite.code``: labels of one's own arrays, priced by a network or LightningModule of one's own."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import ArrayLike
from torch import nn

from ibsuite import record
from ibsuite.arguments import config_folder
from ibsuite.cli import SuiteCLI, quiet
from ibsuite.fit import carry_out
from ibsuite.interface import Refusal
from ibsuite.methods.own import GivenModule
from ibsuite.nn.given import Given, given_network, kept_parameters, network_sha256
from ibsuite.python.loading import LoadedNetwork, load

OWN = "own"
"""Folder of the configs for arrays of one's own, and of the arrays under the data root."""


@dataclass(frozen=True)
class Result:
    """What labels cost, bits, and the run folder that holds all of it."""

    run: Path
    codelength: dict[str, Any] = field(repr=False)
    """``codelength.json`` of the run."""
    given: nn.Module | None = field(default=None, repr=False)
    """The network that was given, untrained."""

    @property
    def total_bits(self) -> float:
        """The description length: the sum of all charges, bits."""
        return float(self.codelength["total_bits"])

    @property
    def uniform_bits(self) -> float:
        """What the labels cost without a model, n log2 K, bits."""
        return float(self.codelength["uniform_bits"])

    @property
    def compression_ratio(self) -> float:
        """Total over uniform: 1 means that nothing was gained."""
        return float(self.codelength["compression_ratio"])

    @property
    def charges(self) -> dict[str, float]:
        """Named parts of the total, bits."""
        return dict(self.codelength["charges"])

    @cached_property
    def network(self) -> LoadedNetwork:
        """The trained or compressed network, as ``ibsuite.load`` gives it."""
        return load(self.run, self.given)

    def __str__(self) -> str:
        parts = ", ".join(f"{name.replace('_', ' ')} {bits:,.1f}" for name, bits in self.charges.items())
        labels = f"{self.codelength['data']['num_labels']:,} labels"
        return f"{labels} in {self.total_bits:,.1f} bits ({parts}), {self.compression_ratio:.3f} of uniform"


def code(
    x: ArrayLike,
    y: ArrayLike,
    network: nn.Module | None = None,
    code: str = "prequential",
    *,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    seed: int = 0,
    order_seed: int = 0,
    name: str = "tensors",
    experiment: str | None = None,
    out: str | Path = "runs",
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Result:
    """How many bits labels cost somebody who has the inputs, by a code, in a run folder like any other.

    The arrays are kept, once, under the data root (``$IBSUITE_DATA``, or ``data/``). A run that is there
    already, of the same arrays, network and settings, is read and not done again; an unfinished one is gone
    on with. Every training starts from a freshly drawn network: what a given one has learnt is not used.

    Args:
        x: inputs, NumPy or torch: feature vectors, (n, d), or images, (n, h, w) or (n, c, h, w). What a
            frozen network makes of its inputs is such an array: its labels' prequential bits are a probe.
        y: labels: n integers or strings.
        network: gives logits, (n, *shape of x) -> (n, classes). A ``torch.nn.Module``, or a LightningModule
            that says itself how it is trained: ``training_step`` on batches (x, y), ``configure_optimizers``.
            It is copied. None: the perceptron of the config.
        code: ``prequential``, ``two_part``, ``network_compression``, ``subspace``, ``variational``; or the
            name or file of a config.
        x_test: inputs of a test split: they are read once, at the end.
        y_test: its labels.
        seed: of initialisation and shuffling.
        order_seed: of the order in which the labels are sent.
        name: of the data, in reports.
        experiment: folder of the runs in ``out``; None: ``own_<code>``.
        out: folder of all experiments.
        options: further options by the names of the command line: ``{"code.max_steps": 500}``.
        overwrite: do a finished run again.

    Raises:
        Refusal: a setting, an array or the network cannot be used.
        NotFinite: a loss or parameter became NaN or infinite while training.
    """
    quiet()
    own = (config_folder() / OWN / f"{code}.yaml").is_file()
    path = _keep({"X": x, "y": y, "X_test": x_test, "y_test": y_test}, name)
    args = [f"--config={OWN}/{code}" if own else f"--config={code}", "--logger=null"]
    args += ["--data=ibsuite.data.Tensors", f"--data.path={path}", f"--data.order_seed={order_seed}"]
    args += [f"--seed_everything={seed}", f"--out={out}"]
    args += [f"--experiment={experiment}"] if experiment else []
    args += _network_options(network)
    args += [f"--{key.lstrip('-')}={_text(value)}" for key, value in (options or {}).items()]
    args.append("--overwrite=true" if overwrite else "--ckpt_path=last")
    with isolate_rng(), given_network(network):
        cli = SuiteCLI(args)
        if overwrite or not (cli.run / record.CODELENGTH).is_file():
            try:
                finished = carry_out(cli, show=False)
            except SystemExit:  # what the trainer makes of Ctrl-C
                finished = False
            if not finished:
                raise KeyboardInterrupt(f"{cli.run} is unfinished; the same call goes on with it")
    return Result(cli.run, record.read_codelength(cli.run), network)


def _network_options(network: nn.Module | None) -> list[str]:
    """Options of the command line that name a given network."""
    if network is None:
        return []
    if kept := kept_parameters(network):
        warnings.warn(
            f"nothing draws {', '.join(kept[:3])} of {type(network).__name__} anew, so every training starts "
            "from the values given: bits are honest only if these have not seen the labels",
            stacklevel=3,
        )
    module = isinstance(network, L.LightningModule)
    option, kind = ("--model", GivenModule) if module else ("--model.network", Given)
    named = [f"{option}.name={type(network).__name__}", f"{option}.sha256={network_sha256(network)}"]
    return [f"{option}={kind.__module__}.{kind.__name__}", *named]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _keep(arrays: Mapping[str, ArrayLike | None], name: str) -> str:
    """Write the arrays under the data root, named by their content; the path from there."""
    held = {key: _array(value) for key, value in arrays.items() if value is not None}
    digest = hashlib.sha256()
    for key, array in held.items():
        digest.update(f"{key} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    path = Path(OWN) / f"{name}-{digest.hexdigest()[:8]}.npz"
    file = Path(os.environ.get("IBSUITE_DATA") or "data").expanduser() / path
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{file.stem}.{os.getpid()}.part")
            with part.open("wb") as opened:
                np.savez(opened, **held)  # type: ignore[arg-type]
            part.replace(file)
        except OSError as error:
            raise Refusal(
                f"the arrays cannot be kept in {file.parent}: {error}; set $IBSUITE_DATA"
            ) from error
    return str(path)


def _array(value: ArrayLike) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    return np.asarray(value)
