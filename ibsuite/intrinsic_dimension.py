"""``python -m ibsuite.intrinsic_dimension``: the least dimension of a subspace that reaches an accuracy.

Only what a call needs is imported, so that ``--help`` answers at once.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def least_dimension(
    accuracy: Callable[[int], float], target: float, start: int, size: int, growth: float, tolerance: float
) -> int | None:
    """The least dimension found to reach the target, or None where not even ``size`` does.

    From ``start`` the dimension grows (or falls) by a constant factor until target lies between two
    neighbours; then their gap is halved, on the logarithmic scale, until it is small.

    Args:
        accuracy: of a training in a subspace of that dimension.
        target: accuracy to be reached.
        start: dimension that is tried first.
        size: weights of the network, the greatest dimension.
        growth: factor between dimensions of the grid.
        tolerance: relative gap between the answer and the greatest dimension below it that failed.
    """
    high = min(start, size)
    if accuracy(high) >= target:
        low = _below(high, growth)
        while low >= 1 and accuracy(low) >= target:
            high, low = low, _below(low, growth)
    else:
        low = high
        while True:
            if low == size:
                return None
            high = min(max(round(low * growth), low + 1), size)
            if accuracy(high) >= target:
                break
            low = high
    while high - low > 1 and high > low * (1 + tolerance):
        middle = min(max(round((max(low, 1) * high) ** 0.5), low + 1), high - 1)
        low, high = (low, middle) if accuracy(middle) >= target else (middle, high)
    return high


def _below(dimension: int, growth: float) -> int:
    return min(round(dimension / growth), dimension - 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Search, print and write; exit code 2 with one sentence where that cannot be honoured."""
    options, rest = _parser().parse_known_args(arguments)
    from ibsuite.callbacks import NotFinite
    from ibsuite.cli import quiet
    from ibsuite.interface import Refusal

    quiet()
    try:
        return _search(options, rest)
    except (Refusal, NotFinite) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, Refusal) else 1


def _search(options: argparse.Namespace, rest: list[str]) -> int:
    from ibsuite.cli import SuiteCLI
    from ibsuite.interface import Refusal
    from ibsuite.methods import Subspace
    from ibsuite.record import provenance, write_csv, write_json

    for name in ("accuracy", "baseline"):
        if not 0 < getattr(options, name) <= 1:
            raise Refusal(f"--{name} must lie in (0, 1], got {getattr(options, name)}")
    if not options.growth > 1:
        raise Refusal(f"--growth must be more than 1, got {options.growth}")
    if not options.epochs > 0:
        raise Refusal(f"--epochs must be positive, got {options.epochs}")
    cli = SuiteCLI(rest)
    model, data, folder = cli.model, cli.datamodule, Path(cli.config.out) / "intrinsic_dimension"
    if not isinstance(model, Subspace):
        raise Refusal(
            f"the search needs --model=Subspace or --config method/subspace, not {type(model).__name__}"
        )
    data.prepare_data()
    data.setup("fit")
    kept = options.validation or max(1, data.num_labels // 6)
    if not 0 < kept < data.num_labels:
        raise Refusal(
            f"--validation {kept} leaves nothing of {data.num_labels} labels to train or validate on"
        )
    target = options.accuracy * options.baseline
    name, start = f"{data.name}-{type(model.network).__name__}-{model.size}-{model.kind}", model.dimension
    if (folder / f"{name}.json").exists() and not cli.config.overwrite:
        raise Refusal(f"{folder / name}.json is there; give another --out, or --overwrite")
    print(f"{name}: accuracy {target:.4g} on {kept} held out labels of {data.num_labels}")
    rows: list[dict[str, Any]] = []
    found: list[int] = []
    for seed in options.seeds:

        def accuracy(dimension: int, seed: int = seed) -> float:
            began = time.monotonic()
            reached = _train(cli, dimension, seed, data.num_labels - kept, options.epochs)
            seconds = time.monotonic() - began
            rows.append(
                {"seed": seed, "dimension": dimension, "accuracy": reached, "seconds": round(seconds, 2)}
            )
            print(f"seed {seed}  d = {dimension:<7} accuracy {reached:.4f}  {seconds:.1f} s", flush=True)
            write_csv(folder / f"{name}.csv", rows)
            return reached

        least = least_dimension(accuracy, target, start, model.size, options.growth, options.tolerance)
        if least is None:
            raise Refusal(f"no subspace reaches {target:.4g}: train longer, or ask for less")
        print(f"seed {seed}  least dimension {least}", flush=True)
        found.append(least)
        start = least  # a good place for the next seed to begin
    mean, std = statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0
    print(f"intrinsic dimension {mean:.0f} +- {std:.0f} of {model.size} weights")
    document = {
        "data": data.name, "network": type(model.network).__name__, "size": model.size,
        "projection": model.kind, "accuracy": target, "validation_labels": kept,
        "epochs": options.epochs, "dimension": {"mean": mean, "std": std, "values": found},
        "seeds": options.seeds, "tried": rows, **provenance(),
    }  # fmt: skip
    words = document["command"].split(" ")  # where the result lies is no part of it
    document["command"] = " ".join(word for word in words if not word.startswith(("--out=", "--json=")))
    write_json(folder / f"{name}.json", document)
    if options.json:
        write_json(options.json, document)
    return 0


def _train(cli: Any, dimension: int, seed: int, labels: int, epochs: float) -> float:
    """Accuracy on the labels from ``labels`` on, after a training on those before."""
    import lightning.pytorch as L
    import torch

    from ibsuite.callbacks import StopWhenNotFinite
    from ibsuite.callbacks.offline import accuracy
    from ibsuite.callbacks.pricing import price
    from ibsuite.interface import Stretch
    from ibsuite.seeds import derive_seed

    model, data = cli.model, cli.datamodule
    steps = max(1, round(epochs * labels / data.batch_size))
    torch.manual_seed(derive_seed(seed, dimension))
    model.resize(dimension)
    model.training_steps = steps
    data.stretch = Stretch(torch.arange(labels), steps, derive_seed(seed))
    trainer = L.Trainer(
        accelerator=cli.config.trainer.accelerator,
        devices=1,
        max_epochs=1,
        callbacks=[StopWhenNotFinite()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(model, datamodule=data)
    rows = torch.arange(labels, data.num_labels)
    return accuracy(price(trainer, model, data, rows), data.labels[rows])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.intrinsic_dimension",
        description="The least dimension of a random subspace of a network's weights that reaches an "
        "accuracy on held out training labels (Li et al. 2018). All other options are those of ibsuite.fit: "
        "--config, --data, --model, --out, ...; the search begins at --model.dimension. Every dimension that "
        "was tried is written to <out>/intrinsic_dimension/.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--accuracy", type=float, default=0.9, help="to be reached; default: %(default)s")
    whole = "accuracy of the whole network, of which --accuracy is then a share; default: %(default)s"
    add("--baseline", type=float, default=1.0, metavar="ACCURACY", help=whole)
    held_out = "labels at the end of the coding order that are not trained on; default: a sixth"
    add("--validation", type=int, metavar="N", help=held_out)
    add("--epochs", type=float, default=6.0, help="passes over the others; default: %(default)s")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    growth = "factor between dimensions while the answer is not enclosed; default: %(default)s"
    add("--growth", type=float, default=1.25, help=growth)
    gap = "relative gap to the nearest dimension that fails; default: %(default)s"
    add("--tolerance", type=float, default=0.05, help=gap)
    add("--json", type=Path, metavar="FILE", help="write the result here as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
