"""How long ``python -m ibsuite.report`` takes for 200 run folders: a process of its own, imports included.

python scripts/benchmark_report.py RUN... --json    # writes results/benchmark_report.json

The folders are copies of finished runs of any codes, each with a seed of its own; what a report does not read
(checkpoints, messages, figures, W&B's files) is not copied. The least of three times is given.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ibsuite import record
from ibsuite.reporting import find_runs

RESULT = Path(__file__).parent.parent / "results" / "benchmark_report.json"
REPEATS = 3


def copies(sources: list[Path], number: int, folder: Path) -> None:
    """So many run folders, each under the experiment of the run that it is a copy of."""
    for seed, source in enumerate(islice(cycle(sources), number)):
        document = record.read_codelength(source)
        digest = source.resolve().name.partition("-")[2]
        run = folder / source.resolve().parent.name / f"{seed}-{digest}"
        run.mkdir(parents=True)
        for file in source.iterdir():
            if file.is_file():
                shutil.copy(file, run)
        record.write_json(run / record.CODELENGTH, {**document, "seed": seed})
        config = run / record.CONFIG
        config.write_text(
            re.sub(r"(?m)^seed_everything: .*$", f"seed_everything: {seed}", config.read_text())
        )


def seconds(runs: Path, *options: str) -> float:
    """The least wall time of a few reports."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        command = [sys.executable, "-m", "ibsuite.report", str(runs), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> int:
    """Copy, time, print, and write where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--json", action="store_true", help=f"write results/{RESULT.name}")
    options = parser.parse_args()
    sources = [run for path in options.runs for run in find_runs(path, levels=2)]
    with tempfile.TemporaryDirectory() as folder:
        copies(sources, options.number, Path(folder) / "runs")
        runs, page = Path(folder) / "runs", Path(folder) / "page.html"
        terminal, html = seconds(runs), seconds(runs, "--html", str(page))
        megabytes = page.stat().st_size / 1e6
    codes: dict[str, int] = {}
    for source in islice(cycle(sources), options.number):
        code = record.read_codelength(source)["code"]
        codes[code] = codes.get(code, 0) + 1
    found: dict[str, Any] = {
        "command": "python scripts/benchmark_report.py RUN... --json",
        "runs": options.number,
        "runs_by_code": codes,
        "report_seconds": round(terminal, 2),
        "report_html_seconds": round(html, 2),
        "page_megabytes": round(megabytes, 2),
        "repeats": REPEATS,
        **{key: record.provenance()[key] for key in ("versions", "git_commit")},
    }
    print(json.dumps(found, indent=2))
    if options.json:
        record.write_json(RESULT, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
