"""Time the weight stream: networks to bytes, and back.

    python scripts/benchmark_coding.py [--repeats 5] [--threads 1] [--json results/benchmark_coding.json]

As many Gaussian weights as the network 784-256-256-10 has, 269,322, are sent in codebooks of 16 values; 90 %
pruned, on a grid of half a standard deviation; and 90 % pruned, as float16. Pruning and quantisation are not
timed. Times are the median over repeats; symbols are weights and biases, zeros among them.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from ibsuite.coding import decode_weights, encode_weights
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
    for name, message in messages().items():
        shapes = {key: entries(sent).shape for key, sent in message.items()}
        symbols = sum(shape.numel() for shape in shapes.values())
        turns = []
        for _ in range(args.repeats):
            began = time.perf_counter()
            data = encode_weights(message).data
            encoded = time.perf_counter()
            received = decode_weights(data, shapes)
            turns.append((encoded - began, time.perf_counter() - encoded))
            assert all(torch.equal(entries(received[key]), entries(sent)) for key, sent in message.items())
        encode, decode = (statistics.median(column) for column in zip(*turns, strict=True))
        print(
            f"{name:<22}{len(data):>9,}{encode:>10.3f}{symbols / encode:>12,.0f}"
            f"{decode:>10.3f}{symbols / decode:>12,.0f}",
            flush=True,
        )
        figures[name] = {
            "symbols": symbols,
            "bytes": len(data),
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
