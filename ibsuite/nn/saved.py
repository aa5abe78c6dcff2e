"""Networks as files: a description in JSON and the tensors as safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ibsuite.interface import Refusal
from ibsuite.nn.chain import ACTIVATIONS, GlobalAverage, Scale, Select, layer_chain

DESCRIPTION, TENSORS = "network.json", "network.safetensors"
FORMAT = 1
ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv2d: (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "padding_mode",
    ),
    nn.BatchNorm1d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.BatchNorm2d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.Dropout: ("p",),
    nn.Dropout2d: ("p",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Identity: (),
    GlobalAverage: (),
    Select: ("units",),
    Scale: ("units",),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
    **{kind: () for kind in ACTIVATIONS if kind in (nn.ReLU, nn.SiLU, nn.Tanh)},
}
"""Constructor arguments of every layer that can be written down, by the names of its attributes."""
KINDS = {kind.__name__: kind for kind in ARGUMENTS}


def save_network(network: nn.Module, folder: Path, inputs: Mapping[str, Any] | None = None) -> int:
    """Write ``network`` into ``folder``, for ``load_network``; the bytes that it takes.

    ``network.json`` names the layers and their sizes, ``network.safetensors`` holds what they have learnt
    (float32), so that nothing has to be run or trusted to read them.

    Args:
        network: a chain of layers.
        folder: made where there is none.
        inputs: how raw inputs become what the network takes, to be written beside it; in plain numbers.

    Raises:
        Refusal: the network is no chain, or has a layer that cannot be written down.
    """
    chain = nn.Sequential(*(layer for _, layer in layer_chain(network)))
    described, maps = [], True
    for layer in chain:
        if isinstance(layer, nn.Flatten | GlobalAverage | nn.Linear):
            maps = False
        described.append(_described(layer, maps))
    last = any(_channels_last(p) for p in chain.parameters())
    document = {"format": FORMAT, "inputs": inputs, "channels_last": last, "layers": described}
    text = json.dumps(document, indent=1) + "\n"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in chain.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS)
    (folder / DESCRIPTION).write_text(text)
    return (folder / TENSORS).stat().st_size + (folder / DESCRIPTION).stat().st_size


def _described(layer: nn.Module, maps: bool) -> dict[str, Any]:
    kind = type(layer)
    if kind is nn.SyncBatchNorm:  # of many processes; for one, a norm of maps or of features
        kind = nn.BatchNorm2d if maps else nn.BatchNorm1d
    if kind not in ARGUMENTS:
        raise Refusal(f"a network with the layer {layer} cannot be saved; use the layers of torch.nn")
    arguments = {name: getattr(layer, name) for name in ARGUMENTS[kind]}
    if kind in (nn.Linear, nn.Conv2d):
        arguments["bias"] = layer.bias is not None
    return {"layer": kind.__name__, **arguments}


def _channels_last(tensor: torch.Tensor) -> bool:
    wanted = torch.channels_last
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=wanted)


def load_network(folder: str | Path) -> nn.Sequential:
    """The network that ``save_network`` wrote into ``folder``, in evaluation mode, ready to be trained on.

    It takes inputs as the run's data gave them, (n, *input_shape), and gives logits. What has to be done
    to raw inputs first stands under ``inputs`` in ``network.json``.

    Raises:
        ValueError: the files are missing, cut off, or not a network of this format.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, TENSORS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no network: {name} is missing")
    try:
        document = json.loads((folder / DESCRIPTION).read_text())
        found = document["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / DESCRIPTION} does not describe a network") from error
    if found != FORMAT:
        raise ValueError(f"{folder} holds a network of format {found}, not {FORMAT}")
    try:
        network = nn.Sequential(*(_built(dict(entry)) for entry in document["layers"]))
        if document["channels_last"]:
            network.to(memory_format=torch.channels_last)
        network.load_state_dict(load_file(folder / TENSORS))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{folder} holds files that are damaged or do not belong together: {said}"
        ) from error
    return network.eval()


def _built(entry: dict[str, Any]) -> nn.Module:
    kind = KINDS[entry.pop("layer")]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()})
