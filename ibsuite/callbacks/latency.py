"""How long a network takes to answer."""

import torch
from torch import nn
from torch.utils.benchmark import Timer

MIN_SECONDS = 0.2
"""Of measurement, in many blocks of calls."""


def latency_seconds(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Time of one call on a batch of this shape, seconds; on the network's device, with torch's threads.

    The mean of the fastest block of calls: other work on the machine can only make a block slower.
    """
    x = torch.zeros(shape, device=next(network.parameters()).device)
    with torch.inference_mode():
        network(x)  # warms up
        timer = Timer("network(x)", globals={"network": network, "x": x}, num_threads=torch.get_num_threads())
        return float(min(timer.blocked_autorange(min_run_time=MIN_SECONDS).times))
