"""``ibsuite.load``: the network of a finished run, ready to be used."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from ibsuite import record
from ibsuite.cli import quiet
from ibsuite.data.preparation import prepare
from ibsuite.interface import Classifier, Refusal, WeightPosterior
from ibsuite.nn import load_network
from ibsuite.nn.given import given_network
from ibsuite.reporting import find_runs, load_run
from ibsuite.restore import finished_run, sent_run


class LoadedNetwork(nn.Module):
    """The trained or compressed network of a finished run, in evaluation mode, on the CPU.

    ::

        raw inputs ─ prepare ─ (n, *input_shape) ─ network ─ logits, (n, num_classes)

    Args:
        network: gives the logits: the method of the run, or a network of plain layers.
        run: its folder.
        codelength: its ``codelength.json``.
        inputs: its ``inputs.json``.
        temperature: the logits over this priced the labels.
    """

    def __init__(
        self,
        network: nn.Module,
        run: Path,
        codelength: dict[str, Any],
        inputs: Mapping[str, Any],
        temperature: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.run, self.codelength, self.inputs, self.temperature = run, codelength, inputs, temperature
        self.num_classes: int = inputs["num_classes"]
        self.classes: list[Any] = inputs["classes"] or list(range(self.num_classes))
        """What each label stands for."""
        self.input_shape = tuple(inputs["shape"])
        self._logits: Callable[[Tensor], Tensor] = (
            network.logits if isinstance(network, Classifier) else network
        )
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of prepared inputs, (n, *input_shape) -> (n, num_classes)."""
        return self._logits(x)

    def prepare(self, raw: Tensor | np.ndarray) -> Tensor:
        """Raw inputs as the network takes them: see :func:`ibsuite.data.preparation.prepare`."""
        return prepare(raw, self.inputs)

    def draw(self, seed: int) -> AbstractContextManager[None]:
        """Within it logits are those of one draw of the weights; outside of it they are those of the means.

        Args:
            seed: of the draw.

        Raises:
            Refusal: the method has no distribution over weights.
        """
        if not isinstance(self.network, WeightPosterior):
            raise Refusal(f"{self.run} has one network and no distribution over weights to draw from")
        return self.network.fixed(seed)


def load(run: str | Path, network: nn.Module | None = None, sent: bool = False) -> LoadedNetwork:
    """The network of a finished run; its data are not needed.

    ====================================  =============================================================
    prequential, self-switch              the final model, trained on all labels
    two-part, network compression,        the network as it was sent
    subspace, a curve of ``compress``
    variational                           the means of the weights; ``draw`` takes others
    VIBNet, pruned                        the small network that was handed over; ``sent``: as it was sent
    Deep VIB, CEB, nonlinear and          the network; logits are those of the mean prediction over the
    layer-wise information bottleneck     fixed draws of a stochastic representation
    ====================================  =============================================================

    Args:
        run: folder of the run, or one that holds no other.
        network: of a run that was coded from Python (``ibsuite.code``): the same network or
            LightningModule, untrained; it is copied.
        sent: the network as ``message/weights.bin`` alone says, as a receiver has it.

    Raises:
        Refusal: there is no such run, it is unfinished or damaged, or has no network of its own.
    """
    quiet()
    found = load_run(_one_run(Path(run)))
    run, codelength = found.path, found.document
    if codelength["code"] == "switch":
        raise Refusal(f"{run} mixes what the networks of other runs predict; load those")
    try:
        inputs = record.read_inputs(run)
    except (OSError, ValueError):
        raise Refusal(f"{run} has no readable {record.INPUTS}; do it again with --overwrite") from None
    if not (sent or (run / record.SOURCE).is_file() or (run / record.FINAL).is_file()):
        raise Refusal(f"{run} has lost its {record.FINAL}; do it again with --overwrite")
    temperature = _temperature(run, codelength)
    if (run / record.NETWORK).is_dir() and not sent:
        try:
            return LoadedNetwork(load_network(run / record.NETWORK), run, codelength, inputs, 1.0)
        except ValueError as error:
            raise Refusal(str(error)) from None
    read = sent_run if sent or (run / record.SOURCE).is_file() else finished_run
    with isolate_rng(), given_network(network):
        method, _, _ = read(run, inputs)
    return LoadedNetwork(method.cpu(), run, codelength, inputs, temperature)


def _one_run(path: Path) -> Path:
    runs = find_runs(path)
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs[:3])
        raise Refusal(f"{path} holds {len(runs)} runs ({names}{', ...' * (len(runs) > 3)}); give one of them")
    return runs[0]


def _temperature(run: Path, codelength: Mapping[str, Any]) -> float:
    """What divides logits where labels are priced: as the message says, or as coded labels have shown."""
    shown = (codelength["test"] or {}).get("temperature", 1.0)
    try:
        said = json.loads((run / record.MANIFEST).read_text())["temperature"]
    except (OSError, ValueError, KeyError):
        said = 1.0
    return float(said if "weights" in codelength["charges"] else shown)
