"""A network that was given from Python, and is named in a config that cannot build it."""

import copy
import hashlib
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from ibsuite.interface import Refusal
from ibsuite.nn.initial import named_tensors

_given: ContextVar[nn.Module | None] = ContextVar("given", default=None)


@contextmanager
def given_network(network: nn.Module | None) -> Iterator[None]:
    """Within it configs that name a given network get copies of this one.

    Args:
        network: untrained; None: there is none.
    """
    token = _given.set(network)
    try:
        yield
    finally:
        _given.reset(token)


def kept_parameters(network: nn.Module) -> list[str]:
    """Names of parameters that start every training from the values they have: no layer draws them anew.

    Those that are the same number everywhere, like a scale of ones, are left out.
    """
    drawn = {
        id(parameter)
        for module in network.modules()
        if hasattr(module, "reset_parameters") or hasattr(module, "_reset_parameters")
        for parameter in module.parameters()
    }
    return [
        name
        for name, parameter in network.named_parameters()
        if id(parameter) not in drawn and parameter.numel() and (parameter != parameter.flatten()[0]).any()
    ]


def network_sha256(network: nn.Module) -> str:
    """Sixteen hex digits of an untrained network: layers, source of the user's classes, values that stay."""
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(network)).encode())
    for kind in dict.fromkeys(type(module) for module in network.modules()):
        if kind.__module__.partition(".")[0] not in ("torch", "lightning", "torchmetrics"):
            try:
                digest.update(inspect.getsource(kind).encode())
            except (OSError, TypeError):  # typed into an interpreter
                digest.update(kind.__qualname__.encode())
    kept = {*kept_parameters(network), *(name for name, _ in network.named_buffers())}
    for name, tensor in named_tensors(network).items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if name in kept:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def copy_of_given(name: str, sha256: str) -> nn.Module:
    """A copy of what was given.

    Raises:
        Refusal: nothing was given, or something else than what the config names.
    """
    network = _given.get()
    if network is None:
        raise Refusal(
            f"the network of this run, {name}, was given from Python, and no config can build it: use "
            f"ibsuite.load(run, network=...) or ibsuite.code(...) with the same network"
        )
    if network_sha256(network) != sha256:
        raise Refusal(f"this {type(network).__name__} is another network than the {name} of the run")
    return copy.deepcopy(network)


class Given(nn.Module):
    """A network of the user's, given from Python (``ibsuite.code``).

    Args:
        name: of its class.
        sha256: ``network_sha256`` of it.

    Raises:
        Refusal: nothing was given, or another network.
    """

    def __init__(self, name: str, sha256: str) -> None:
        super().__init__()
        self.network = copy_of_given(name, sha256)

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of ``x``."""
        outputs: Tensor = self.network(x)
        return outputs
