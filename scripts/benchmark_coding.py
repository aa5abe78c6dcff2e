"""Time the weight stream and the label stream: networks and labels to bytes, and back.

    python scripts/benchmark_coding.py [--repeats 5] [--threads 1] [--json results/benchmark_coding.json]

As many Gaussian weights as the network 784-256-256-10 has, 269,322, are sent in codebooks of 16 values; 90 %
pruned, on a grid of half a standard deviation; and 90 % pruned, as float16. Pruning and quantisation are not
timed. Times are the median over repeats; symbols are weights and biases, zeros among them.

A million labels of 10 classes are sent in one call, under distributions of about one bit each; both ends make
whole numbers of the float64 log2-probabilities, which is timed with them.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ibsuite.codes import log2_probabilities
from ibsuite.coding import LabelReceiver, LabelSender, decode_weights, encode_weights, integer_probabilities
from ibsuite.compression import prune, quantise_kmeans, quantise_uniform
from ibsuite.interface import Message, Quantised
from ibsuite.nn import MLP


def messages() -> dict[str, Message]:
    """The network in three formats."""
    draws, network = torch.Generator().manual_seed(0), MLP((1, 28, 28), 10, hidden=(256, 256))
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    weights = {name: torch.randn(shape, generator=draws) for name, shape in shapes.items()}
    pruned = prune(weights, 0.9)
    return {
        "16-value codebooks": {name: quantise_kmeans(tensor, 16) for name, tensor in weights.items()},
        "90 % pruned, grid": {name: quantise_uniform(tensor, 0.5) for name, tensor in pruned.items()},
        "90 % pruned, float16": {name: tensor.half() for name, tensor in pruned.items()},
    }


def entries(sent: Tensor | Quantised) -> Tensor:
    """The tensor itself, or its integers."""
    return sent.symbols if isinstance(sent, Quantised) else sent


def time_weights(message: Message) -> tuple[int, int, float, float]:
    """Symbols, bytes, and seconds to encode and to decode a network."""
    shapes = {key: entries(sent).shape for key, sent in message.items()}
    began = time.perf_counter()
    data = encode_weights(message).data
    encoded = time.perf_counter()
    received = decode_weights(data, shapes)
    decoded = time.perf_counter()
    assert all(torch.equal(entries(received[key]), entries(sent)) for key, sent in message.items())
    symbols = sum(shape.numel() for shape in shapes.values())
    return symbols, len(data), encoded - began, decoded - encoded


def time_labels(log2_probs: Tensor, labels: Tensor) -> tuple[int, int, float, float]:
    """Labels, bytes, and seconds to encode and to decode labels under log2-probabilities."""
    sender = LabelSender()
    began = time.perf_counter()
    sender.send(labels, integer_probabilities(log2_probs))
    data = sender.data()
    encoded = time.perf_counter()
    received = LabelReceiver(data).receive(integer_probabilities(log2_probs))
    decoded = time.perf_counter()
    assert torch.equal(torch.from_numpy(received), labels)
    return len(labels), len(data), encoded - began, decoded - encoded


def tasks() -> dict[str, Callable[[], tuple[int, int, float, float]]]:
    """What is timed, by name."""
    draws = torch.Generator().manual_seed(0)
    log2_probs = log2_probabilities(4 * torch.randn(10**6, 10, generator=draws))
    labels = torch.multinomial(log2_probs.exp2(), 1, generator=draws)[:, 0]
    weights = {name: partial(time_weights, message) for name, message in messages().items()}
    return {**weights, "10-class labels": partial(time_labels, log2_probs, labels)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} thread(s), median of {args.repeats} repeats")
    print(f"{'message':<22}{'bytes':>9}{'encode s':>10}{'symbols/s':>12}{'decode s':>10}{'symbols/s':>12}")
    figures = {}
    for name, task in tasks().items():
        runs = [task() for _ in range(args.repeats)]
        symbols, size = runs[0][:2]
        encode, decode = (statistics.median(run[end] for run in runs) for end in (2, 3))
        print(
            f"{name:<22}{size:>9,}{encode:>10.3f}{symbols / encode:>12,.0f}"
            f"{decode:>10.3f}{symbols / decode:>12,.0f}",
            flush=True,
        )
        figures[name] = {
            "symbols": symbols,
            "bytes": size,
            "encode_seconds": encode,
            "encode_symbols_per_second": symbols / encode,
            "decode_seconds": decode,
            "decode_symbols_per_second": symbols / decode,
        }
    if args.json:
        machine = {"torch": torch.__version__, "threads": args.threads, "platform": platform.machine()}
        command = f"python scripts/benchmark_coding.py --repeats {args.repeats} --threads {args.threads}"
        args.json.write_text(
            json.dumps({"command": command, "machine": machine, "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
