"""One run of a trial: a process, watched by what it logs."""

import csv
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ibsuite import record
from ibsuite.interface import Refusal

POLL_SECONDS = 0.2
GRACE_SECONDS = 30.0
"""Between asking a process to end and making it."""


class Ended(Enum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    how: Ended
    run: Path
    value: float = float("nan")
    """Of the metric, at the end."""
    said: str = ""
    """Last line of its errors."""


def run_process(words: Sequence[str], metric: str, stops: Callable[[int, float], bool] | None) -> Outcome:
    """Run a command to its end, or until ``stops`` says so.

    Args:
        words: of the command.
        metric: a key that the run logs.
        stops: is given number, from 1, and value of each that is logged; None: the run is not watched.

    Raises:
        Refusal: the command was refused, or killed; or it does not log ``metric``.
    """
    with tempfile.TemporaryDirectory() as folder:
        told, errors = Path(folder, "run"), Path(folder, "errors")
        environment = {**os.environ, record.TRIAL: str(told)}
        with errors.open("w") as file:
            process = subprocess.Popen(
                words, env=environment, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
            )
        stopped, seen = False, 0
        try:
            while process.poll() is None and not stopped:
                time.sleep(POLL_SECONDS)
                logged = logged_values(_run(told), metric) if stops else []
                for number, value in enumerate(logged[seen:], seen + 1):
                    stopped = stopped or (stops is not None and stops(number, value))
                seen = max(seen, len(logged))
        finally:
            end(process)
        run, said = _run(told), (errors.read_text().strip().splitlines() or [""])[-1]
    if stopped:
        return Outcome(Ended.STOPPED, run)
    if process.returncode == 1:
        return Outcome(Ended.FAILED, run, said=said)
    if process.returncode == 2:
        raise Refusal(f"the trial was refused: {said.removeprefix('error: ')}")
    if process.returncode:
        raise Refusal(
            f"the trial was killed (exit code {process.returncode}); the same command goes on with it"
        )
    return Outcome(Ended.FINISHED, run, final_value(run, metric))


def logged_values(run: Path, metric: str) -> list[float]:
    """Every value of ``metric`` that a run has logged, as far as whole lines have been written."""
    path = run / record.METRICS
    text = path.read_text() if path.is_file() else ""
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [float(row[metric]) for row in rows if row.get(metric)]


def final_value(run: Path, metric: str) -> float:
    """The metric of a finished run."""
    if metric == "code/total_bits":
        return float(record.read_codelength(run)["total_bits"])
    values = logged_values(run, metric)
    if not values:
        raise Refusal(f"{run} logs no {metric!r}; its {record.METRICS} has what can be a metric")
    return values[-1]


def end(process: subprocess.Popen) -> None:
    """End a process and all that it has started: first ask, then make it."""
    for how, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _run(told: Path) -> Path:
    return Path(told.read_text()) if told.is_file() else Path("nowhere")
