"""What one, two and four processes make of the same experiment, for every method and every code.

    python scripts/ranks.py [--labels 360] [--steps 100] [--seeds 0 1 2] [--json results/ranks_digits.json]

Every packaged experiment on the digits is run, made shorter, with ``ddp_fork`` on CPU. Two things are told:
how far lengths are apart where all have the same weights (the optimisers' learning rates are 0: what is left
is pricing), and how far apart trainings end, beside what another seed does to one process.
"""

import argparse
import inspect
import json
import math
import platform
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

import ibsuite.callbacks
import ibsuite.cli
import ibsuite.methods
from ibsuite.arguments import config_folder
from ibsuite.callbacks import PrequentialCode, SaveStretch, StopWhenNotFinite
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.cli import SuiteCLI
from ibsuite.interface import Refusal

WORLDS = (1, 2, 4)
NUDGE = 0.3
"""Standard deviation of what is added to untrained weights, whose predictions would all be uniform."""


def experiments() -> list[str]:
    """Names of the packaged experiments on the digits that train and send."""
    found = sorted(path.stem for path in (config_folder() / "experiment").glob("*_digits.yaml"))
    return ["default", *(name for name in found if not name.startswith("rate_distortion"))]


def forgotten(built: list[SuiteCLI]) -> set[str]:
    """Methods and codes of the package that no experiment has."""
    codes = {
        name
        for name, thing in vars(ibsuite.callbacks).items()
        if inspect.isclass(thing) and issubclass(thing, OfflineCode | PrequentialCode)
    }
    seen = {type(part).__name__ for cli in built for part in (cli.model, cli.code)}
    return (set(ibsuite.methods.__all__) | codes) - seen


def build(name: str, seed: int, labels: int, steps: int, out: str) -> SuiteCLI:
    """A short version of an experiment."""
    args = [f"--config={name}"] if name != "default" else ["--code.ratio=3", "--code.views=1"]
    args += ["--logger=null", "--trainer.accelerator=cpu", "--threads=1", f"--out={out}"]
    args += [f"--data.num_labels={labels}", f"--code.min_steps={steps}", f"--code.max_steps={steps}"]
    if "validation_labels" in _options(name):
        args.append(f"--code.validation_labels={labels // 5}")
    return SuiteCLI([*args, f"--seed_everything={seed}"])


def _options(name: str) -> str:
    path = config_folder() / ("default.yaml" if name == "default" else f"experiment/{name}.yaml")
    return path.read_text()


def hold_still(method: Any) -> None:
    """Weights and batch statistics that no training moves; weights are not the initial ones."""

    class Still(type(method)):  # type: ignore[misc]
        def reset_parameters(self) -> None:
            super().reset_parameters()
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.add_(NUDGE * torch.randn_like(parameter))

    method.__class__ = Still
    for module in method.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    for optimizer in ("optimizer", "critic_optimizer"):
        setattr(method, optimizer, lambda parameters: torch.optim.SGD(parameters, lr=0.0))


def total_bits(cli: SuiteCLI, world: int, folder: str) -> float:
    """Length of everything that is sent, found by so many processes."""
    many: dict[str, Any] = {"devices": world, "strategy": "ddp_fork"} if world > 1 else {"devices": 1}
    L.Trainer(
        **many,
        accelerator="cpu",
        callbacks=[cli.code, StopWhenNotFinite(), SaveStretch(share=0.0)],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        max_epochs=-1,
    ).fit(cli.model, datamodule=cli.datamodule)
    return float(json.loads((Path(folder) / "codelength.json").read_text())["total_bits"])


def measure(name: str, seed: int, options: argparse.Namespace, still: bool = False) -> list[float]:
    """The length that each number of processes finds, bits."""
    bits = []
    for world in WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            cli = build(name, seed, options.labels, options.steps, folder)
            if still:
                hold_still(cli.model)
            bits.append(total_bits(cli, world, folder))
    return bits


def figures(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that is told of one experiment."""
    try:
        still = measure(name, options.seeds[0], options, still=True)
        apart: list[float] | None = [bits / still[0] - 1 for bits in still]
    except Refusal:  # such weights cannot be sent: every gate is shut, for instance
        apart = None
    runs = [measure(name, seed, options) for seed in options.seeds]
    by_world = dict(zip(map(str, WORLDS), map(list, zip(*runs, strict=True)), strict=True))
    return {"same_weights_relative": apart, "total_bits": by_world}


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    one, *more = found["total_bits"].values()
    spread = statistics.stdev(one) if len(one) > 1 else math.nan
    apart = found["same_weights_relative"]
    line = f"{name:<30}{max(map(abs, apart)) if apart else math.nan:>14.1e}"
    line += f"{statistics.mean(one):>12.2f}{spread:>10.2f}"
    for bits in more:
        changes = [b - a for a, b in zip(one, bits, strict=True)]
        line += f"{statistics.mean(changes):>+12.4f}{max(map(abs, changes)):>12.4f}"
    return line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, default=360)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=experiments(), help="some of the experiments")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    ibsuite.cli.quiet()
    warnings.filterwarnings("ignore")
    if args.only == experiments():
        with tempfile.TemporaryDirectory() as out:
            missing = forgotten([build(name, 0, args.labels, args.steps, out) for name in args.only])
        assert not missing, f"no packaged experiment on the digits has {sorted(missing)}"
    print(f"{args.labels} labels, {args.steps} steps, seeds {args.seeds}; bits, against one process")
    print(f"{'':<30}{'same weights':>14}{'1 process':>12}{'seeds +-':>10}", end="")
    print("".join(f"{f'{w}: mean':>12}{'largest':>12}" for w in WORLDS[1:]))
    options = f"--labels {args.labels} --steps {args.steps} --seeds {' '.join(map(str, args.seeds))}"
    machine = {"torch": torch.__version__, "threads": 1, "platform": platform.machine()}
    found: dict[str, Any] = {}
    for name in args.only:
        found[name] = figures(name, args)
        print(row(name, found[name]), flush=True)
        if args.json:  # line by line: a part is worth having
            told = {"command": f"python scripts/ranks.py {options}", "machine": machine, "figures": found}
            args.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
