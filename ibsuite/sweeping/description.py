"""A sweep as its file describes it: settings, command, metric, and what every trial is charged."""

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ibsuite.interface import Refusal

CHARGED = ("code.settings_compared", "settings_compared")
"""The setting that says how many trials are compared: of ``ibsuite.fit``, and of ``ibsuite.compress``."""
METHODS = ("grid", "random", "bayes")


@dataclass(frozen=True)
class Sweep:
    """A file of ``configs/sweep``, checked."""

    name: str
    method: str
    program: str
    command: list[str]
    """With ``${...}`` for what a trial fills in."""
    metric: str
    goal: Literal["minimize", "maximize"]
    parameters: dict[str, dict[str, Any]]
    """What W&B knows of each setting: value, values, or min, max and distribution; nested ones flattened."""
    trials: int
    """In all: the size of a grid, or ``run_cap``."""
    early_terminate: dict[str, Any] | None

    @property
    def experiment(self) -> str:
        """Folder of the runs, below that of all experiments."""
        for word in self.command:
            if word.startswith("--experiment="):
                return word.partition("=")[2]
        raise Refusal(f"{self.name}: its command needs --experiment=NAME, the folder of its runs")

    @property
    def digest(self) -> str:
        """Eight hex digits of all that decides the trials."""
        kept = [self.method, self.command, self.metric, self.goal, self.parameters, self.early_terminate]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]

    def words(self, settings: Mapping[str, Any]) -> list[str]:
        """The command of one trial, as W&B's agents make it, with this interpreter.

        Args:
            settings: of the trial.
        """
        args = [f"--{name}={value}" for name, value in settings.items()]
        python = [sys.executable]
        filled = {"${env}": ["/usr/bin/env"], "${interpreter}": python, "python": python,
                  "${program}": [self.program], "${args}": args}  # fmt: skip
        words = [word for each in self.command for word in filled.get(each, [each])]
        return [re.sub(r"\$\{envvar:(\w+)\}", lambda m: os.environ.get(m[1], m[1]), word) for word in words]


def read_sweep(name: str) -> Sweep:
    """The sweep of a file, or of a packaged file by its name.

    Raises:
        Refusal: it is no sweep, or its trials are not charged for.
    """
    path = _find(name)
    try:
        text = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise Refusal(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    wanted = ("command", "method", "metric", "parameters")
    missing = [key for key in wanted if not isinstance(text, dict) or not text.get(key)]
    if missing:
        raise Refusal(f"{path} is no sweep: it lacks {', '.join(missing)}")
    method, parameters = text["method"], dict(_flattened(text["parameters"]))
    if method not in METHODS:
        raise Refusal(f"{path}: method {method!r} is none of {', '.join(METHODS)}")
    command = [str(word) for word in text["command"]]
    if "${args}" not in command:
        raise Refusal(f'{path}: write "${{args}}" in its command: settings are passed as --name=value')
    if method == "grid":
        ranges = [name for name, spec in parameters.items() if not {"value", "values"} & set(spec)]
        if ranges:
            raise Refusal(f"{path}: {ranges[0]} of a grid needs values, not a range")
        trials = math.prod(len(spec.get("values", [0])) for spec in parameters.values())
    else:
        trials = text.get("run_cap")
        if not trials:
            raise Refusal(f"{path}: {method} needs run_cap, the number of trials: log2 of it is charged")
    _check_charge(path, parameters, trials)
    metric = text["metric"]
    goal = metric.get("goal", "minimize") if isinstance(metric, dict) else None
    if goal not in ("minimize", "maximize") or "name" not in metric:
        raise Refusal(f"{path}: metric needs a name, and a goal that is minimize or maximize")
    return Sweep(
        name=path.name,
        method=method,
        program=text.get("program", "ibsuite.fit"),
        command=command,
        metric=metric["name"],
        goal=goal,
        parameters=parameters,
        trials=trials,
        early_terminate=text.get("early_terminate"),
    )


def _find(name: str) -> Path:
    packaged = Path(__file__).parent.parent / "configs"
    packaged = packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"
    stem = name.removeprefix("configs/").removeprefix("sweep/").removesuffix(".yaml")
    for path in (Path(name), packaged / "sweep" / f"{stem}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in (packaged / "sweep").glob("*.yaml"))
    raise Refusal(f"no sweep {name!r}; packaged ones are {', '.join(known)}")


def _flattened(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings by their whole names: W&B nests them as ``model: {parameters: {beta: ...}}``."""
    for name, spec in parameters.items():
        if "parameters" in spec:
            yield from _flattened(spec["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", dict(spec)


def _check_charge(path: Path, parameters: Mapping[str, Mapping[str, Any]], trials: int) -> None:
    """Refuse a sweep that charges a trial for fewer than all; more, where the config had compared before."""
    charged = next((parameters[name].get("value") for name in CHARGED if name in parameters), None)
    if not isinstance(charged, int) or charged % trials:
        raise Refusal(
            f"{path} has {trials} trials and charges for {charged}: set {CHARGED[0]} to {trials}, times what "
            "the settings_compared of its config is"
        )
