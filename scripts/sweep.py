"""A sweep of configs/sweep without an account: every setting of its grid with every seed, one after another.

python scripts/sweep.py configs/sweep/deepvib_digits.yaml --seeds 0 1 2 --report --bottleneck plane.png

The file is one that ``wandb sweep`` takes. Runs that are finished already are left as they are, so that a
sweep which was interrupted is gone on with by the same command. What follows --report goes to
``ibsuite.report`` with the folder of the runs.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def settings(parameters: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every point of the grid, in the order of the file."""
    values = [spec["values"] if "values" in spec else [spec["value"]] for spec in parameters.values()]
    for point in itertools.product(*values):
        yield dict(zip(parameters, point, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then report; the first exit code that is not 0."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    report = given[given.index("--report") + 1 :] if "--report" in given else None
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", default="runs", help="folder of all experiments; default: %(default)s")
    options = parser.parse_args(given[: given.index("--report")] if report is not None else given)
    sweep = yaml.safe_load(options.sweep.read_text())
    if sweep["method"] != "grid":
        parser.error(f"{options.sweep} is not a grid: use wandb sweep")
    words = [word for word in sweep["command"] if word not in ("${env}", "${args}", "python")]
    (experiment,) = (word.split("=")[1] for word in words if word.startswith("--experiment="))
    plain = ["--logger=null", "--trainer.enable_progress_bar=false", f"--out={options.out}"]
    for seed in options.seeds:
        for point in settings(sweep["parameters"]):
            chosen = [f"--{name}={value}" for name, value in point.items()]
            print(*chosen, f"--seed_everything={seed}", flush=True)
            command = [sys.executable, *words, *chosen, f"--seed_everything={seed}", *plain]
            done = subprocess.run([*command, "--ckpt_path=last"], capture_output=True, text=True)
            if done.returncode and "is finished" not in done.stderr:
                print(done.stderr, file=sys.stderr)
                return done.returncode
    if report is None:
        return 0
    runs = str(Path(options.out) / experiment)
    return subprocess.run([sys.executable, "-m", "ibsuite.report", runs, *report], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
