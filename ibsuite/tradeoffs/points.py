"""Points of a curve: a setting, the message that it makes, and its length by several codes."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from ibsuite.callbacks.sent import narrowed
from ibsuite.compression import entropy_bits, huffman_bits, paper_ratio
from ibsuite.interface import Message, Quantised, Refusal
from ibsuite.tradeoffs.network import TrainedNetwork
from ibsuite.tradeoffs.objectives import Objective

Method = Literal["prune", "quantise", "prune_quantise", "entropy_constrained"]
Setting = Mapping[str, float]


def settings(
    method: Method, kept: Sequence[float], clusters: Sequence[int], steps: Sequence[float]
) -> list[Setting]:
    """All settings of a method.

    Raises:
        Refusal: a share outside (0, 1], fewer than one cluster, a step that is not positive.
    """
    if wrong := [share for share in kept if not 0 < share <= 1]:
        raise Refusal(f"--kept={wrong[0]} is a share of the weights; give numbers above 0 and up to 1")
    if wrong := [count for count in clusters if count < 1]:
        raise Refusal(f"--clusters={wrong[0]}: a codebook needs at least one value")
    if wrong := [step for step in steps if not 0 < step < math.inf]:
        raise Refusal(f"--steps={wrong[0]} must be positive")
    shares: list[Setting] = [{"kept": share} for share in kept]
    books: list[Setting] = [{"clusters": count} for count in clusters]
    if method == "prune_quantise":
        return [{**share, **book} for share in shares for book in books]
    grids: list[Setting] = [{"step": step} for step in steps]
    return {"prune": shares, "quantise": books, "entropy_constrained": grids}[method]


def message(network: TrainedNetwork, objective: Objective, setting: Setting) -> Message:
    """The compressed network as it is sent: weights pruned and quantised, what is left over in float16."""
    weights = network.selected(network.weights)
    sent: dict = {}
    if "kept" in setting:
        weights = objective.pruned(weights, 1 - setting["kept"])
    if "clusters" in setting:
        if "kept" not in setting:
            _check_distinct(weights, int(setting["clusters"]))
        sent = dict(objective.clustered(weights, int(setting["clusters"])))
    elif "step" in setting:
        sent = dict(objective.rounded(weights, setting["step"]))
    whole = {**network.trained, **weights}
    return {
        name: sent[name] if name in sent else narrowed(tensor, torch.float16)
        for name, tensor in whole.items()
    }


def _check_distinct(weights: Mapping[str, torch.Tensor], clusters: int) -> None:
    for name, weight in weights.items():
        distinct = len(weight.unique())
        if clusters > distinct:
            raise Refusal(f"--clusters={clusters} is more than the {distinct} different weights of {name}")


def sizes(message: Message, weights: Sequence[str]) -> dict[str, float]:
    """Weights that are left, percent, and lengths of the weights by codes that know their frequencies, bits.

    ``paper_ratio`` is r of Gao et al. 2019, section 6: the share that is kept where weights were pruned; and
    m b / (sum_j m_j ceil(log2(m / m_j)) + k b), summed over tensors, where they share values.
    """
    left = sum(int((_values(message[name]) != 0).sum()) for name in weights)
    total = sum(_values(message[name]).numel() for name in weights)
    found = {"kept_percent": 100 * left / total}
    books = [sent for name in weights if isinstance(sent := message[name], Quantised)]
    if not books:
        return found | {"paper_ratio": left / total}
    counts = [book.symbols.unique(return_counts=True)[1] for book in books]
    found["entropy_bits"] = sum(entropy_bits(each) for each in counts)
    found["huffman_bits"] = sum(huffman_bits(each) for each in counts)
    found["paper_ratio"] = paper_ratio(*counts)
    return found


def _values(sent: torch.Tensor | Quantised) -> torch.Tensor:
    return sent.values() if isinstance(sent, Quantised) else sent
