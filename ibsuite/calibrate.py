"""``python -m ibsuite.calibrate``: estimators of mutual information against the truth.

Only what a call needs is imported, so that ``--help`` answers at once.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUICK = {"dimensions": [1], "nats": [1.0], "transforms": ["none", "cube"], "samples": 400, "steps": 50}


def main(arguments: Sequence[str] | None = None) -> int:
    """Estimate, print, draw and write; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    try:
        rows = _calibrate(options)
    except ValueError as error:
        print(f"ibsuite.calibrate: {error}", file=sys.stderr)
        return 2
    best = _best(rows)
    for each in best:
        where = f"{each['transform']}, d = {each['dimensions']}, {each['mi_bits']:.3f} bits"
        print(f"nearest of {where}: {each['estimator']}, off by {each['error_percent']:.1f} %")
    if options.json:
        from ibsuite.record import provenance, write_json

        settings = {
            key: getattr(options, key) for key in ("samples", "seeds", "critic", "batch_size", "steps")
        }
        write_json(options.json, {**settings, "best": best, "rows": rows, **provenance()})
    if options.figure:
        from ibsuite.figures.calibration import calibration_figure

        options.figure.parent.mkdir(parents=True, exist_ok=True)
        calibration_figure(rows).savefig(options.figure, dpi=200)
    return 0


def _calibrate(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each reading of each estimator on each task with each seed."""
    from ibsuite.information.tasks import ESTIMATORS, TRANSFORMS, Task, estimate

    if min(*options.dimensions, options.samples, options.steps, options.batch_size) < 1:
        raise ValueError("--dimensions, --samples, --steps and --batch_size must be at least 1")
    rows: list[dict[str, Any]] = []
    for transform in options.transforms or TRANSFORMS:
        for dimensions in options.dimensions:
            for nats in options.nats:
                task = Task(dimensions, nats, transform)
                print(f"d = {dimensions}, {transform}: {task.mi_bits:.3f} bits ({nats:g} nats)\n{HEADER}")
                for name in options.estimators or ESTIMATORS:
                    for seed in options.seeds:
                        began = time.monotonic()
                        readings = estimate(name, task, options.samples, seed, options.critic,
                                            options.batch_size, options.steps)  # fmt: skip
                        seconds = round(time.monotonic() - began, 2)
                        for reading, found in readings.items():
                            where = {"dimensions": dimensions, "transform": transform, "seed": seed}
                            row = {**where, "estimator": reading, "mi_bits": task.mi_bits, **found.as_dict()}
                            row["seconds"] = seconds
                            rows.append(row)
                            print(_line(row), flush=True)
    return rows


HEADER = f"  {'bits':<18}{'kind':<9}{'train':>9}{'held out':>10}{'+-':>8}{'error':>8}{'seconds':>9}"


def _line(row: dict[str, Any]) -> str:
    heldout = row["heldout_bits"]
    error = "-" if heldout is None else f"{100 * (heldout / row['mi_bits'] - 1):+.0f} %"
    numbers = [row["train_bits"], heldout, row["standard_error_bits"]]
    train, heldout, spread = ("-" if number is None else f"{number:.3f}" for number in numbers)
    note = row["diverged"] or ("" if row["certified"] else "uncertified: more than the pairs can support")
    line = f"  {row['estimator']:<18}{row['kind']:<9}{train:>9}{heldout:>10}{spread:>8}{error:>8}"
    return f"{line}{row['seconds']:>9.1f}  {note}".rstrip()


def _best(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each transform and dimension the estimator nearest to the largest information there, over seeds."""
    best = []
    for transform, dimensions in dict.fromkeys((row["transform"], row["dimensions"]) for row in rows):
        here = [row for row in rows if (row["transform"], row["dimensions"]) == (transform, dimensions)]
        largest = max(row["mi_bits"] for row in here)
        errors: dict[str, list[float]] = {}
        for row in here:
            if row["mi_bits"] == largest and row["heldout_bits"] is not None:
                errors.setdefault(row["estimator"], []).append(abs(row["heldout_bits"] / largest - 1))
        if errors:
            name = min(errors, key=lambda each: sum(errors[each]) / len(errors[each]))
            percent = 100 * sum(errors[name]) / len(errors[name])
            best.append({"transform": transform, "dimensions": dimensions, "mi_bits": largest,
                         "estimator": name, "error_percent": percent})  # fmt: skip
    return best


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.calibrate",
        description="Estimators of mutual information against the truth: correlated Gaussians, and maps of "
        "their coordinates that change no information. Train and held-out values in bits; what the number of "
        "pairs cannot support is marked.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dimensions", type=int, nargs="+", default=[1, 5, 20], metavar="D", help="default: 1 5 20")
    add("--nats", type=float, nargs="+", default=[1.0, 2.0, 4.0], help="true information; default: 1 2 4")
    maps = "none, cube, asinh, half-cube; default: all"
    add("--transforms", nargs="+", metavar="NAME", help=maps)
    names = (
        "dv, mine, nwj, infonce, smile, gaussian, gaussian_copula, autoregressive, noisy_upper, kernel, ksg, "
    )
    add("--estimators", nargs="+", metavar="NAME", help=f"{names}binned; default: all")
    add(
        "--samples",
        type=int,
        default=10_000,
        metavar="N",
        help="pairs drawn for a task; default: %(default)s",
    )
    add("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="default: 0")
    add("--critic", choices=("joint", "separable"), default="joint", help="default: %(default)s")
    add("--batch_size", type=int, default=64, metavar="N", help="of a critic; default: %(default)s")
    add("--steps", type=int, default=800, metavar="N", help="of a critic, at most; default: %(default)s")
    add("--figure", type=Path, metavar="PNG", help="draw estimate against truth")
    add("--json", type=Path, metavar="FILE", help="write all rows, the command and the versions")
    add("--quick", action="store_true", help="one dimension, one nat, few samples: is everything there?")
    return parser


if __name__ == "__main__":
    sys.exit(main())
