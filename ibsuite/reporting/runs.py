"""Finished runs as they lie on disk: what was measured, in bits, and the config behind it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ibsuite import record
from ibsuite.refusal import Refusal

PATH_KEYS = re.compile(r"(^|\.)(root|download|out|dirpath|ckpt_path|\w+_dir)$")
"""Config keys that say where a run lies, not what it measures."""
NOT_MEASURED = re.compile(r"^(seed_everything|config|overwrite|dry_run)$|(^|\.)seed$|(^|\.)logger(\.|$)")
"""Config keys besides which two seeds of one experiment still are the same experiment."""

WRITTEN = (record.CONFIG, record.CODELENGTH, record.LABELS, record.CURVE, record.METRICS)
"""A folder with one of these is that of a run, whatever has become of the others."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Many configs are read for one table; the compiled loader is several times faster, where there is one."""


@dataclass(frozen=True)
class Run:
    """One finished run: its folder, and its ``codelength.json`` in bits."""

    path: Path
    document: dict[str, Any]

    @property
    def experiment(self) -> str:
        """Name of the folder that holds the run."""
        return self.path.resolve().parent.name

    @property
    def name(self) -> str:
        """Name of the run's own folder: seed and digest of its config."""
        return self.path.resolve().name

    @property
    def seed(self) -> int:
        """What ``seed_everything`` was."""
        return int(self.document["seed"])

    @cached_property
    def compression(self) -> dict[str, Any] | None:
        """``compression.json``; None where no network was compressed.

        Raises:
            Refusal: It cannot be read.
        """
        return self._beside(record.COMPRESSION, record.read_compression)

    @cached_property
    def bottleneck(self) -> dict[str, Any] | None:
        """``bottleneck.json``; None where the method has no stochastic representation.

        Raises:
            Refusal: It cannot be read.
        """
        return self._beside(record.BOTTLENECK, record.read_bottleneck)

    @cached_property
    def robustness(self) -> dict[str, Any] | None:
        """``robustness.json``; None where nobody has attacked the network.

        Raises:
            Refusal: It cannot be read.
        """
        return self._beside(record.ROBUSTNESS, record.read_robustness)

    @cached_property
    def validation_error_percent(self) -> float | None:
        """Error on held-out labels when the training had ended; None where none were held out and watched."""
        if not (self.path / record.CURVE).is_file():
            return None
        along = [row for row in record.read_csv(self.path / record.CURVE) if row.get("epoch") is not None]
        return along[-1].get("validation_error_percent") if along else None

    def _beside(self, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return read(self.path)
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError):
            refuse(f"{self.path / name} is not JSON; run the experiment again")
        except ValueError as error:
            refuse(f"{error}; run the experiment again")

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All that must agree between two seeds of one experiment: dotted config keys and hashes."""
        flat = {
            key: value.replace(self.name, "RUN") if isinstance(value, str) else value
            for key, value in plain_settings(self.path)
            if not (NOT_MEASURED.search(key) or PATH_KEYS.search(key))
        }
        data = dict(_flat(self.document["data"], "data: "))
        if flat.get("data.init_args.random_labels") == 1:  # labels that are all drawn are drawn for each seed
            flat.pop("data.init_args.label_seed", None)
            data.pop("data: labels_sha256", None)
        known = {"code": self.document["code"], "git_commit": self.document.get("git_commit")}
        return {
            **flat,
            **known,
            **data,
            **dict(_flat(self.document.get("versions", {}), "version of ")),
        }

    @cached_property
    def alike(self) -> str:
        """What is the same for all seeds of one experiment, and for no other run."""
        known = sorted((key, repr(value)) for key, value in self.recipe.items() if value is not None)
        return repr([self.experiment, known])


def refuse(sentence: str) -> NoReturn:
    """Raise Refusal."""
    raise Refusal(sentence)


def plain_settings(run: Path) -> list[tuple[str, Any]]:
    """The settings of a run by their dotted keys, from its config.

    Raises:
        Refusal: It has no config, or one that cannot be read.
    """
    path = run / record.CONFIG
    try:
        config = yaml.load(path.read_text(), Loader=LOADER)
    except FileNotFoundError:
        refuse(f"{run} has no {record.CONFIG}, so nobody can say what was run there")
    except (yaml.YAMLError, ValueError):  # the latter of bytes that are no text, or a date that is none
        refuse(f"{path} is not YAML; run the experiment again")
    if not isinstance(config, dict):
        refuse(f"{path} holds no settings; run the experiment again")
    return list(_flat(config))


def find_runs(path: Path, levels: int = 1) -> list[Path]:
    """The run folders that ``path`` stands for: itself, or those it holds, finished or not.

    Args:
        path: a run folder, or one that holds runs.
        levels: how deep they may lie: 1 for ``runs/<experiment>``, 2 for ``runs`` as well.

    Raises:
        Refusal: ``path`` does not exist or holds no run.
    """
    if not path.is_dir():
        refuse(f"{path} is not a folder; give a run folder, or a folder of runs such as runs/<experiment>")
    if not _is_run(path) and (path / record.BLOCKS).is_dir():
        refuse(
            f"{path} holds blocks that were done apart: `python -m ibsuite.merge {path}` makes a run of them"
        )
    runs = list(_runs_below(path, levels))
    if not runs:
        refuse(f"{path} holds no run: neither it nor a folder in it has a {record.CONFIG}")
    return runs


def _runs_below(path: Path, levels: int) -> Iterator[Path]:
    if _is_run(path):
        yield path
    elif levels:
        for child in sorted(each for each in path.iterdir() if each.is_dir()):
            yield from _runs_below(child, levels - 1)


def told_apart(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its experiment where there are several, and the settings in which runs differ."""
    experiments: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        experiments.setdefault(run.experiment, []).append(run.recipe)
    differ = {name: settings_that_differ(recipes) for name, recipes in experiments.items()}
    names = []
    for run in runs:
        said = [f"{key.split('.')[-1]}={run.recipe[key]}" for key in differ[run.experiment][:3]]
        words = [run.experiment] if len(experiments) > 1 or not said else []
        names.append(" ".join([*words, *said]))
    twice = len(set(names)) < len(names)
    return [f"{name} {run.name}" if twice else name for name, run in zip(names, runs, strict=True)]


def settings_that_differ(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted config keys that all recipes have and that are not the same in all of them."""
    keys = [key for key in recipes[0] if "." in key and ": " not in key and not key.startswith("version of ")]
    common = [key for key in keys if all(key in other for other in recipes)]
    return [key for key in common if any(other[key] != recipes[0][key] for other in recipes)]


def is_finished(path: Path) -> bool:
    """Whether the run has its result."""
    return (path / record.CODELENGTH).is_file()


def load_run(path: Path) -> Run:
    """Read a finished run, lengths in bits.

    Raises:
        Refusal: The run is unfinished, or its result cannot be read.
    """
    if not is_finished(path):
        refuse(f"{path} has no {record.CODELENGTH}: an unfinished run; finish it with --ckpt_path=last")
    try:
        return Run(path, record.read_codelength(path))
    except (json.JSONDecodeError, UnicodeDecodeError):
        refuse(f"{path / record.CODELENGTH} is not JSON; run the experiment again")
    except ValueError as error:
        refuse(f"{error}; run the experiment again")


def difference(runs: Iterable[Run]) -> str | None:
    """What the runs differ in besides the seed, in words; None where it is nothing."""
    first, *others = runs
    wanted = first.recipe
    for other in others:
        found = other.recipe
        for key in {**wanted, **found}:
            if wanted.get(key) != found.get(key):
                return f"{key}: {wanted.get(key)!r} in {first.name}, {found.get(key)!r} in {other.name}"
    return None


def by_seed(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs in groups: those of one experiment that differ in nothing but the seed."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.alike, []).append(run)
    return list(groups.values())


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in WRITTEN)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Leaves of nested mappings by dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
