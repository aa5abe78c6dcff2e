"""A network cut behind its layers: L_1 = F_1(x), L_2 = F_2(x), ... up to the logits."""

from torch import nn

from ibsuite.nn.chain import WEIGHTED, layer_chain


def representations(network: nn.Module) -> list[tuple[str, nn.Sequential]]:
    """Parts of a network, one a weight matrix or kernel, each up to the next one, and their names.

    A part is such a layer and all that follows it up to the next: normalisation, activation, pooling,
    flattening. What stands in front of the first layer belongs to the first part. Applied one after another
    the parts are the network; the output of part i is L_i, that of the last one the logits. Their layers are
    those of the network itself, and a part has the name of its weight matrix or kernel.

    Args:
        network: a chain of layers, as ``layer_chain`` reads it.

    Raises:
        Refusal: it is no chain of layers that are known.
    """
    parts: list[tuple[str, list[nn.Module]]] = []
    front: list[nn.Module] = []
    for name, layer in layer_chain(network):
        if isinstance(layer, WEIGHTED):
            parts.append((name, [*front, layer]))
            front = []
        elif parts:
            parts[-1][1].append(layer)
        else:
            front.append(layer)
    return [(name, nn.Sequential(*layers)) for name, layers in parts]
