"""``python -m ibsuite.compress RUN...``: what finished runs' networks lose when they are pruned or quantised.

Only what a call needs is imported, so that ``--help`` and a mistyped path answer at once.
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ibsuite import record

if TYPE_CHECKING:
    from ibsuite.tradeoffs import Retraining

DECISIVE = (
    "temperatures",
    "mus",
    "samples",
    "scope",
    "curvature",
    "probes",
    "retrain_epochs",
    "retrain_rate",
    "settings_compared",
)
METHODS = ("prune", "quantise", "prune_quantise", "entropy_constrained")
PAPER = ["baseline", "unsupervised", "gradient", "hessian", "gradient_hessian"]
OBJECTIVES = (*PAPER, "regression", "optimal_brain")
KEPT = [0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compress, write and print; exit code 2 with one sentence where that cannot be honoured."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    for path in options.runs:
        if not path.is_dir():
            joined = "; write options of a training with =" if rest and options.config else ""
            return _refused(f"{path} is not a folder; give a run or a folder of runs{joined}")
    if rest and not options.config:
        name = rest[0].partition("=")[0]
        near = get_close_matches(name, parser.format_help().split(), n=1)
        said = f"did you mean {near[0]}?" if near else "--help lists them; those of a training need --config"
        return _refused(f"{name} is no option; {said}")
    if not options.runs and not options.config:
        return _refused("give a finished run, a folder of runs, or a --config to train by")
    from ibsuite.cli import quiet
    from ibsuite.interface import Refusal

    quiet()
    try:
        _check(options)
        folder = [] if options.out is None else [f"--out={options.out}"]
        runs = [*options.runs, *([_trained(options.config, [*rest, *folder])] if options.config else [])]
        _compress(options, runs)
    except (Refusal, ValueError) as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        print("ibsuite.compress: interrupted; the same command does what is missing", file=sys.stderr)
        return 130
    return 0


def _refused(sentence: str) -> int:
    print(f"ibsuite.compress: {sentence}", file=sys.stderr)
    return 2


def _check(options: argparse.Namespace) -> None:
    """Refuse now what would be refused in the middle."""
    from ibsuite.interface import Refusal

    if wrong := [t for t in options.temperatures if not 0 < t < math.inf]:
        raise Refusal(f"--temperatures={wrong[0]} must be positive")
    if wrong := [mu for mu in options.mus if not 0 <= mu < math.inf]:
        raise Refusal(f"--mus={wrong[0]} must not be negative")
    if options.probes < 2:
        raise Refusal(f"--probes={options.probes} must be 2 or more: products of different probes are used")
    if options.settings_compared < 1:
        raise Refusal(f"--settings_compared={options.settings_compared} must be 1 or more")


def _trained(configs: Sequence[str], rest: Sequence[str]) -> Path:
    """The run of these configs and options, trained now if it is not finished."""
    from ibsuite.cli import SuiteCLI
    from ibsuite.interface import Refusal
    from ibsuite.reporting.runs import is_finished

    args = [*(f"--config={config}" for config in configs), *rest]
    run = SuiteCLI(args).run
    if not is_finished(run):
        print(f"training {run}", flush=True)
        done = subprocess.run([sys.executable, "-m", "ibsuite.fit", *args, "--ckpt_path=last"], check=False)
        if done.returncode:
            raise Refusal(f"{run} was not trained to its end; what went wrong stands above")
    return run


def _compress(options: argparse.Namespace, sources: Sequence[Path]) -> None:
    from ibsuite.reporting import find_runs, load_run, print_runs
    from ibsuite.reporting.runs import is_finished
    from ibsuite.tradeoffs import Retraining, curve_folder, settings

    grids = {
        method: settings(method, options.kept, options.clusters, options.steps) for method in options.methods
    }
    retraining = Retraining(options.retrain_epochs, options.retrain_rate)
    decisive = {name: getattr(options, name) for name in DECISIVE}
    suffix = "_network" * (options.scope == "network") + "_retrained" * bool(options.retrain_epochs)
    made = []
    for source in dict.fromkeys(run for path in sources for run in find_runs(path)):
        load_run(source)  # refuses an unfinished one
        out, wanted = options.out or source.resolve().parent.parent, []
        for method, objective in dict.fromkeys(product(options.methods, options.objectives)):
            if objective == "optimal_brain" and (
                method == "entropy_constrained"  # the errors of a column are no costs of its weights
                or (options.scope == "network" and "prune" in method)  # nor do layers share a unit
            ):
                continue
            grid = [dict(setting) for setting in grids[method]]
            known = {"method": method, "objective": objective, "settings": grid, **decisive}
            folder, config = curve_folder(source, out, f"{method}_{objective}{suffix}", known)
            made.append(folder)
            record.announce(folder)
            if is_finished(folder) and not options.overwrite:
                print(f"{folder} is finished")
                if options.wandb:  # a trial of a sweep that is queued twice
                    _told(_logger(folder, config), folder, {}, [])
            else:
                wanted.append((folder, config))
        if wanted:
            _curves(options, source, wanted, retraining)
    print_runs([load_run(run) for run in made])


def _curves(
    options: argparse.Namespace,
    source: Path,
    wanted: Sequence[tuple[Path, dict[str, Any]]],
    retraining: "Retraining",
) -> None:
    """Trace and write the curves of one trained run."""
    from ibsuite.callbacks.result import provenance
    from ibsuite.interface import LabelSequence
    from ibsuite.reporting import draw_run
    from ibsuite.restore import finished_run
    from ibsuite.tradeoffs import TrainedNetwork, begin_curve, trace, write_curve

    module, data, code = finished_run(source)
    assert isinstance(data, LabelSequence)
    network = TrainedNetwork(
        module,
        data,
        getattr(code, "validation_labels", 0),
        options.samples,
        options.scope,
        options.curvature,
        options.probes,
        wanted[0][1]["seed_everything"],
        options.objectives,
        getattr(code, "views", 0),
    )
    test = data.test_split()
    compared = options.settings_compared * getattr(code, "settings_compared", 1)
    for folder, config in wanted:
        began, told = time.monotonic(), config["compress"]
        begin_curve(folder, source, config)
        logger = _logger(folder, config) if options.wandb else None
        print(f"{folder}")

        def tell(row: dict[str, Any], logger: Any = logger) -> None:
            print(_line(row), flush=True)
            if logger is not None:
                logger.log_metrics({f"curve/{key}": value for key, value in row.items()})

        curve = trace(
            network,
            told["objective"],
            told["settings"],
            options.temperatures,
            options.mus,
            retraining,
            test,
            tell,
        )
        seconds, found = time.monotonic() - began, provenance(module.device)
        write_curve(folder, source, curve, data, compared, seconds, found)
        figures = draw_run(folder)
        if logger is not None:
            shortest = {f"curve/{key}": value for key, value in curve.shortest.items()}
            _told(logger, folder, shortest, figures)


def _told(logger: Any, folder: Path, summary: dict[str, float], figures: list[Path]) -> None:
    """Hand the result of a curve to its logger."""
    document = record.read_codelength(folder)
    total = {f"code/{name}": document[name] for name in ("total_bits", "compression_ratio")}
    logger.log_result({**summary, **total}, [], figures)
    logger.close()


def _logger(folder: Path, config: dict[str, Any]) -> Any:
    from ibsuite.loggers import WeightsAndBiases

    logger = WeightsAndBiases()
    experiment = config["experiment"]
    logger.describe(folder, f"{experiment}/{folder.name}", experiment, config["compress"])
    logger.begin()
    return logger


def _line(row: dict[str, Any]) -> str:
    """A point in one line: the setting, its size, and what it does to predictions."""
    settings = [f"{name} {row[name]:g}" for name in ("kept", "clusters", "step") if name in row]
    split = next(name for name in ("test", "validation", "train") if f"{name}_accuracy" in row)
    return (
        f"  {', '.join(settings):<24}{row['model_bits'] / 1000:>10.1f} kbit  {split} accuracy "
        f"{100 * row[f'{split}_accuracy']:.2f} %, {row[f'{split}_nll_bits']:.4f} bits a label"
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without all options before it."""
        self.exit(2, f"ibsuite.compress: {message}; --help lists all options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m ibsuite.compress",
        description="What the networks of finished runs lose when they are pruned or quantised: a curve for "
        "every method and objective, each a run folder beside that of the network.",
        epilog="With --config, further options are those of python -m ibsuite.fit.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUN", help="a finished run, or a folder of runs")
    add("--config", action="append", metavar="NAME", help="train by this config first, if that is not done")
    add("--methods", nargs="+", choices=METHODS, default=["prune", "quantise"], metavar="M",
        help=f"{', '.join(METHODS)}; default: prune quantise")  # fmt: skip
    add("--objectives", nargs="+", choices=OBJECTIVES, default=[*PAPER, "optimal_brain"], metavar="O",
        help=f"{', '.join(OBJECTIVES)}; default: all but regression")  # fmt: skip
    add("--kept", nargs="+", type=float, default=KEPT, metavar="R",
        help="shares of the weights that are left; default: %(default)s")  # fmt: skip
    add("--clusters", nargs="+", type=int, default=list(range(2, 17)), metavar="K",
        help="values of each tensor's codebook; default: 2 to 16")  # fmt: skip
    add("--steps", nargs="+", type=float, default=[0.25, 0.5, 0.75, 1.0, 1.5, 2.0], metavar="S",
        help="of entropy-constrained grids; default: %(default)s")  # fmt: skip
    add("--scope", choices=("tensor", "network"), default="tensor",
        help="prune the same share of every tensor, or what costs least; default: %(default)s")  # fmt: skip
    add("--temperatures", nargs="+", type=float, default=[1.0, 3.0, 6.0, 9.0], metavar="T",
        help="of the softmax behind importances, chosen on held-out labels; default: 1 3 6 9")  # fmt: skip
    add("--mus", nargs="+", type=float, default=[0.0, 1.0, 10.0, 1e4, 1e5], metavar="MU",
        help="dampings of the curvature, chosen on held-out labels; default: %(default)s")  # fmt: skip
    add("--samples", type=int, metavar="N",
        help="labels behind the importance; default: all that were trained on")  # fmt: skip
    add("--curvature", choices=("exact", "propagation", "hutchinson"), default="exact",
        help="how Hessian diagonals are found; default: %(default)s")  # fmt: skip
    add("--probes", type=int, default=2,
        help="random probes of a sample where curvature is not exact; default: %(default)s")  # fmt: skip
    add("--retrain_epochs", type=float, default=0.0, metavar="E",
        help="passes over the labels that train a compressed network on; default: %(default)s")  # fmt: skip
    add("--retrain_rate", type=float, default=0.1, metavar="R",
        help="share of the training's learning rate at which; default: %(default)s")  # fmt: skip
    add("--settings_compared", type=int, default=1, metavar="N",
        help="further settings that were tried on these labels; log2 of it is charged")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="folder of all experiments; default: that of the run")
    add("--overwrite", action="store_true", help="do finished curves again")
    add("--wandb", action="store_true", help="a W&B run for every curve, offline unless you are logged in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
