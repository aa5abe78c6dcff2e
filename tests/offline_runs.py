"""Every offline code with a method that it describes, small enough for a test."""

import json
from pathlib import Path
from typing import Any

import torch

from ibsuite.callbacks import (
    NetworkCompressionCode,
    PrunedNetworkCode,
    SubspaceCode,
    TwoPartCode,
    VariationalCode,
)
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.methods import (
    CEB,
    ConstrainedVIB,
    CrossEntropy,
    DeepVIB,
    EntropyPenalised,
    LayerwiseIB,
    NonlinearIB,
    Subspace,
    Variational,
    VIBNet,
)
from ibsuite.nn import MLP, Bottleneck, LearnedGaussian

FEW: dict[str, Any] = {"epochs": 1, "min_steps": 30, "max_steps": 30}
RATES: dict[str, Any] = {"sparsities": [0.0, 0.6], "steps": [0.5], "levels": [4], "temperatures": [0.7, 1.0]}
PRUNED = ("pruned", "pruned_finetuned")
BOTTLENECKS = ("deep_vib", "ceb", "constrained_vib")
KINDS = (
    *("floats", "quantised", "compressed", "finetuned", "subspace", "layerwise"),
    *(*BOTTLENECKS, *PRUNED, "variational"),
)
MESSAGES = KINDS[:-1]
"""Those that write ``weights.bin``."""


def code_of(kind: str, **settings: Any) -> OfflineCode:
    """The code of a kind."""
    given = {**FEW, **settings}
    if kind == "layerwise":
        return TwoPartCode(**given)
    if kind == "floats":
        return TwoPartCode(**{"temperatures": [0.7, 1.0], **given})
    if kind in BOTTLENECKS:
        return TwoPartCode(**{"averaging": 0.8, **given})
    if kind == "quantised":
        return TwoPartCode(**{"formats": ["quantised"], **given})
    if kind == "variational":
        return VariationalCode(**{"draws": 3, "watched": 0, **given})
    if kind == "subspace":
        precisions = {name: value for name, value in RATES.items() if name != "sparsities"}
        return SubspaceCode(**{**precisions, **given})
    finetuning = {"finetune_epochs": 2, "finetune_rate": 0.5} if "finetuned" in kind else {}
    if kind.startswith("pruned"):
        return PrunedNetworkCode(**{**RATES, **finetuning, "watched": 0, **given})
    return NetworkCompressionCode(**{**RATES, **finetuning, **given})


def method_of(kind: str, network: Any = None, **settings: Any) -> Any:
    """A method that the code of a kind describes."""
    network = network or MLP((1, 8, 8), 10, hidden=(8,))

    def adam(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=0.02)

    if kind == "quantised":
        return EntropyPenalised(network, adam, **settings)
    if kind in (*BOTTLENECKS, "nonlinear_ib"):
        given = {"dimension": 4, "encoder": lambda shape, size: MLP(shape, size, hidden=(8,))}
        given |= {"ceb": {"components": 10}, "nonlinear_ib": {"covariance": "shared"}}.get(kind, {})
        methods = {"ceb": CEB, "constrained_vib": ConstrainedVIB, "nonlinear_ib": NonlinearIB}
        return methods.get(kind, DeepVIB)(Bottleneck((1, 8, 8), 10, **given), adam, **settings)
    if kind.startswith("layerwise"):
        made = {"label_hidden": (8,), "beta": 0.01, "noise_std": 0.3, **settings}
        return LayerwiseIB(network, adam, adam, **made)
    if kind == "subspace":
        return Subspace(network, dimension=40, optimizer=adam, **settings)
    if kind == "variational":
        return Variational(network, LearnedGaussian(), optimizer=adam, **settings)
    if kind.startswith("pruned"):
        gamma = 0.005 if isinstance(network, MLP) else 2e-5  # a map of many positions is dear
        return VIBNet(network, adam, **{"gamma": gamma, "gate_rate": 10.0, **settings})
    return CrossEntropy(network, adam, **settings)


def document(run: Path) -> dict[str, Any]:
    """``codelength.json`` of a run."""
    found: dict[str, Any] = json.loads((run / "codelength.json").read_text())
    return found


def outcome(run: Path) -> dict[str, Any]:
    """All of ``codelength.json`` but what another run of the same cannot share."""
    found = document(run)
    return {name: value for name, value in found.items() if name not in ("cost", "command", "git_commit")}
