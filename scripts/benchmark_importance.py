"""Time the moments behind every objective of weight importance, in units of one forward and backward pass.

    python scripts/benchmark_importance.py [--samples 60000] [--threads 1] [--json results/importance.json]

The unit is a plain gradient of the summed cross entropy over the same samples in the same batches. Inputs are
noise in memory: the time does not depend on what is in them. The convolutional network gets a hundredth of
the samples. Seconds are those of the processor, so that other programs on the machine do not count.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.compression import OBJECTIVES, weight_moments
from ibsuite.nn import MLP, ConvNet

SHAPE = (1, 28, 28)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "784-256-256-10": (lambda: MLP(SHAPE, 10, hidden=(256, 256)), 1.0),
    "small convnet": (lambda: ConvNet(SHAPE, 10), 0.01),
}
"""Networks and the share of the samples that each is timed on."""
PASSES: dict[str, dict[str, Any]] = {
    **{name: {"moments": moments} for name, moments in OBJECTIVES.items() if moments},
    "hessian by 2 probes": {"moments": OBJECTIVES["hessian"], "curvature": "propagation"},
    "all, exact": {},
}
"""Rows of the table: arguments of ``weight_moments``."""


class Noise:
    """Random images and labels in memory."""

    num_classes = 10

    def __init__(self, samples: int) -> None:
        draws = torch.Generator().manual_seed(0)
        self.num_labels = samples
        self.x = torch.randn(samples, *SHAPE, generator=draws)
        self.labels = torch.randint(10, (samples,), generator=draws)

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        """Images at ``rows``."""
        return self.x[rows].to(device)


class Classifier(nn.Module):
    """A network with ``logits``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def logits(self, x: Tensor) -> Tensor:
        """The network's outputs."""
        outputs: Tensor = self.network(x)
        return outputs


def gradient_seconds(classifier: Classifier, data: Noise, batch_size: int) -> float:
    """One plain forward and backward pass over all samples, in evaluation mode."""
    classifier.eval()
    began = time.process_time()
    for rows in torch.arange(data.num_labels).split(batch_size):
        x = data.inputs(rows, torch.device("cpu"))
        F.cross_entropy(classifier.logits(x), data.labels[rows], reduction="sum").backward()
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} thread(s), batches of {args.batch_size}, 10 classes")
    print(f"{'network':<16}{'samples':>9}  {'moments':<22}{'seconds':>9}{'passes':>9}")
    figures: dict[str, dict[str, Any]] = {}
    for name, (make, share) in NETWORKS.items():
        torch.manual_seed(0)
        classifier, data = Classifier(make()), Noise(max(1, round(share * args.samples)))
        nn.init.normal_(list(classifier.parameters())[-2])  # a head of zeros would pass nothing back
        rows = torch.arange(data.num_labels)
        gradient_seconds(classifier, Noise(min(data.num_labels, args.batch_size)), args.batch_size)
        unit = gradient_seconds(classifier, data, args.batch_size)
        seconds = {"plain gradient": unit}
        for label, arguments in PASSES.items():
            began = time.process_time()
            weight_moments(classifier, data, rows, batch_size=args.batch_size, **arguments)
            seconds[label] = time.process_time() - began
        for label, taken in seconds.items():
            print(f"{name:<16}{data.num_labels:>9}  {label:<22}{taken:>9.2f}{taken / unit:>9.1f}", flush=True)
        multiples = {label: taken / unit for label, taken in seconds.items()}
        figures[name] = {"samples": data.num_labels, "seconds": seconds, "gradient_passes": multiples}
    if args.json:
        machine = {"torch": torch.__version__, "threads": args.threads, "platform": platform.machine()}
        options = f"--samples {args.samples} --batch-size {args.batch_size} --threads {args.threads}"
        command = f"python scripts/benchmark_importance.py {options}"
        args.json.write_text(
            json.dumps({"command": command, "machine": machine, "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
