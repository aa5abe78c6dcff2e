"""Time a step of ``ibsuite.fit``, and pricing, against bare PyTorch loops on the same work.

    python scripts/benchmark.py [--steps 200] [--repeats 5] [--threads 1] [--json results/benchmark.json]

Each network is trained on the same batches (in memory, no augmentation, Adam) by Lightning with all
the callbacks and loggers of a real run, and by a bare loop; the two take turns, and the ratio is the
median over turns. So are bare loops with and without VIBNet's gates. Pricing is compared with a bare
evaluation loop over the same batches.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ibsuite.cli
from ibsuite.callbacks import PrequentialCode, SaveStretch, StopWhenNotFinite, TrainingCurve
from ibsuite.callbacks.pricing import PRICING_BATCH, evaluating, price
from ibsuite.data import LabelledData
from ibsuite.interface import Stretch
from ibsuite.loggers import MetricsTable, WeightsAndBiases
from ibsuite.methods import CrossEntropy, VIBNet
from ibsuite.nn import MLP, VGG, ConvNet

SHAPE = (1, 28, 28)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "784-300-100-10": lambda: MLP(SHAPE, 10, hidden=(300, 100)),
    "small convnet": lambda: ConvNet(SHAPE, 10, widths=(32, 64, 128), stem=5, stem_stride=2),
    "VGG-like": lambda: VGG(SHAPE, 10, stages=((32, 32), (64, 64)), fully_connected=(128,), batch_norm=True),
}


class Noise(LabelledData):
    """Random images of MNIST's shape: the time does not depend on what is in them."""

    name, num_classes, input_shape, stock_labels = "noise", 10, SHAPE, 4096

    def read_train(self) -> tuple[Tensor, Tensor]:
        """Bytes and labels."""
        draws = torch.Generator().manual_seed(0)
        x = torch.randint(256, (4096, *SHAPE), generator=draws, dtype=torch.uint8)
        return x, torch.randint(10, (4096,), generator=draws)

    def read_test(self) -> None:
        """There is none."""


def adam(parameters: object) -> torch.optim.Optimizer:
    """What both sides train with."""
    return torch.optim.Adam(parameters, lr=1e-4)  # type: ignore[arg-type]


class Clock(L.Callback):
    """Seconds between the first step and the last of one training, without what is around them."""

    def on_train_batch_end(self, *args: object) -> None:
        """Look at the clock."""
        now = time.perf_counter()
        self.began = getattr(self, "began", now)
        self.ended = now


def suite_step_seconds(make: Callable[[], nn.Module], steps: int) -> float:
    """One training of ``ibsuite.fit``: a stretch of ``steps`` steps with everything that a run has."""
    clock = Clock()
    code = PrequentialCode(
        block_ends=[4095],
        min_steps=steps,
        max_steps=steps,
        stops=[1.0],
        temperatures=[1.0],
        final_model=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        wandb = WeightsAndBiases(mode="offline")
        wandb.describe(Path(folder), "benchmark", "benchmark", {})
        wandb.begin()  # here, not within the time
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            callbacks=[code, TrainingCurve(), StopWhenNotFinite(), SaveStretch(), clock],
            logger=[MetricsTable(Path(folder) / "metrics.csv"), wandb],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            max_epochs=-1,
        )
        trainer.fit(
            CrossEntropy(make(), adam, warmup=0.0, decay="constant"), datamodule=Noise(batch_size=128)
        )
        wandb.close()
    return (clock.ended - clock.began) / (steps - 1)


def bare_step_seconds(make: Callable[[], nn.Module], steps: int, gated: bool = False) -> float:
    """The same batches and the same optimiser in six lines of PyTorch; or with VIBNet's gates."""
    data = Noise(batch_size=128)
    network: nn.Module = VIBNet(make(), adam) if gated else make()
    data.setup()
    data.stretch = Stretch(torch.arange(4095), steps, 0)
    optimizer = adam(network.parameters())
    began = 0.0
    for i, batch in enumerate(data.train_dataloader()):
        loss = F.cross_entropy(network(batch.x), batch.y)
        if isinstance(network, VIBNet):
            loss = loss + 1e-4 * network.rate_nats()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i == 0:
            began = time.perf_counter()
    return (time.perf_counter() - began) / (steps - 1)


def pricing_seconds(make: Callable[[], nn.Module]) -> tuple[float, float]:
    """Pricing 4,096 labels, and a bare evaluation loop over the same batches."""
    data, method = Noise(), CrossEntropy(make())
    data.setup()
    rows, cpu = torch.arange(4096), torch.device("cpu")
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    began = time.perf_counter()
    price(trainer, method, data, rows)
    ours, began = time.perf_counter() - began, time.perf_counter()
    with evaluating(method), torch.inference_mode():
        torch.cat([method.network(data.inputs(some, cpu)) for some in rows.split(PRICING_BATCH)])
    return ours, time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    ibsuite.cli.quiet()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} thread(s), batch 128, median of {args.repeats} turns")
    print(f"{'network':<16}{'ibsuite ms':>12}{'bare ms':>10}{'ratio':>8}{'gated':>8}{'pricing ratio':>15}")
    figures = {}
    for name, make in NETWORKS.items():
        turns = [
            (suite_step_seconds(make, args.steps), bare_step_seconds(make, args.steps))
            for _ in range(args.repeats)
        ]
        gates = [bare_step_seconds(make, args.steps, gated=True) for _ in range(args.repeats)]
        pricing = [ours / bare for ours, bare in (pricing_seconds(make) for _ in range(args.repeats + 1))][1:]
        suite_ms, bare_ms = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(ours / bare for ours, bare in turns)
        gated = statistics.median(ours / bare for ours, (_, bare) in zip(gates, turns, strict=True))
        priced = statistics.median(pricing)
        print(
            f"{name:<16}{suite_ms:>12.2f}{bare_ms:>10.2f}{ratio:>8.2f}{gated:>8.2f}{priced:>15.2f}",
            flush=True,
        )
        figures[name] = {
            "suite_ms": suite_ms,
            "bare_ms": bare_ms,
            "step_ratio": ratio,
            "gated_ratio": gated,
            "pricing_ratio": priced,
        }
    if args.json:
        machine = {"torch": torch.__version__, "threads": args.threads, "platform": platform.machine()}
        options = f"--steps {args.steps} --repeats {args.repeats} --threads {args.threads}"
        command = f"python scripts/benchmark.py {options}"
        args.json.write_text(
            json.dumps({"command": command, "machine": machine, "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
