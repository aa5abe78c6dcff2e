"""A published result: one small JSON per experiment, in bits, with the command that made it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ibsuite import record
from ibsuite.reporting.bottleneck import bottleneck_numbers
from ibsuite.reporting.compressed import compressed_numbers
from ibsuite.reporting.formats import mean_std
from ibsuite.reporting.rate_distortion import curve_numbers
from ibsuite.reporting.robustness import robustness_numbers
from ibsuite.reporting.runs import Run, difference, load_run, refuse
from ibsuite.reporting.spread import difference_besides_order, order_of, over_grid, spreads

HARDWARE = ("cores", "devices", "device", "device_name")
LENGTHS = (
    "total_bits",
    "compression_ratio",
    "uniform_bits",
    "class_frequency_bits",
    "standard_error_bits",
    "measured_bits",
    "manifest_bits",
    "model_information_bits",
    "mutual_information_bits_per_label",
)
ABSOLUTE = re.compile(r"(?<![\w.~/-])/[^'\",;:=\[\]{}]*")
OPTION = re.compile(r"--[\w.]+\+?")
LEFT_OUT = re.compile(r"--(seed_everything|ckpt_path|out)=|--overwrite(=|$)|--(?!config=)[\w.]+=/")
HIDDEN = re.compile(r"[/\\@]|^(host|hostname|node|user)$")
"""What betrays a machine or its owner: paths, host names."""


def publish(
    runs: list[Path], name: str, results: Path, reduced: str | None = None, orders: bool = False
) -> Path:
    """Write ``results/NAME.json``: means over seeds of all lengths in bits, and where they come from.

    Args:
        runs: Folders of finished runs of one experiment that differ in the seed alone.
        name: The experiment, named like its config: lower case letters, digits, underscores.
        results: Folder of published results.
        reduced: What was left out against the full experiment, in words; None for the full one.
        orders: Whether the runs may differ in the order of the labels as well; ``orders`` is then recorded,
            and beside every ``std`` its parts over seeds and over orders.

    Returns:
        The file written.

    Raises:
        Refusal: A run is unfinished, a seed occurs twice, or the runs differ in more than the seed.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        refuse(f"{name!r} is no name of an experiment; use lower case letters, digits and underscores")
    if reduced is not None and not reduced.strip():
        refuse("what a reduced run leaves out must be said in words, not left empty")
    if not runs:
        refuse("nothing to publish; give at least one finished run")
    loaded = sorted((load_run(path) for path in runs), key=lambda run: (order_of(run), run.seed))
    seeds = [run.seed for run in loaded]
    keys = [(order_of(run), run.seed) if orders else run.seed for run in loaded]
    if twice := [seed for key, seed in zip(keys, seeds, strict=True) if keys.count(key) > 1]:
        refuse(f"seed {twice[0]} occurs twice; publish one run per seed{' and order' * orders}")
    differs = difference_besides_order(loaded) if orders else difference(loaded)
    if differs:
        refuse(f"the runs differ in more than the seed ({differs}); publish one experiment at a time")
    edited = [run for run in loaded if str(run.document.get("git_commit")).endswith("+changes")]
    if edited:
        refuse(
            f"{edited[0].name} was made by edited files that no commit holds; commit them and run it again"
        )
    for name_beside in ("compression", "bottleneck", "robustness"):
        bare = [run for run in loaded if getattr(run, name_beside) is None]
        if 0 < len(bare) < len(loaded):
            refuse(f"{bare[0].name} has no {name_beside}.json, which others have; run it again")
    machines = [machine(run.document) for run in loaded]
    if any(other != machines[0] for other in machines):
        refuse("the runs were made on different machines; repeat them on one, so that their times compare")
    sent = [order_of(run) for run in loaded] if orders else []
    document = {
        "experiment": name,
        "command": command([str(run.document.get("command", "")) for run in loaded], seeds, sent),
        "git_commit": loaded[0].document.get("git_commit"),
        "machine": machines[0],
        "date": datetime.now(timezone.utc).date().isoformat(),
        "seeds": seeds,
        **({"orders": sent} if orders else {}),
        **_architecture(loaded),
        "figures": figures(loaded, orders),
        "scale": "full" if reduced is None else f"reduced: {reduced.strip()}",
    }
    path = results / f"{name}.json"
    record.write_json(path, document)
    return path


def figures(runs: Sequence[Run], orders: bool = False) -> dict[str, dict[str, Any]]:
    """Mean, sample standard deviation (null for one seed) and values of what all runs measured.

    With ``orders`` the standard deviations over seeds and over orders alone stand beside.
    """
    keys = [(order_of(run), run.seed) for run in runs]
    measured = [_measured(run) for run in runs]
    table: dict[str, dict[str, Any]] = {}
    for key in measured[0]:
        if all(key in other for other in measured):
            values = [other[key] for other in measured]
            mean, std = mean_std(values)
            parts = spreads(dict(zip(keys, values, strict=True))) if orders else {}
            table[key] = {"mean": mean, "std": std, **parts, "values": values}
    return table


def machine(document: Mapping[str, Any]) -> dict[str, Any]:
    """Cores or GPU and versions of one run; no host name, no path."""
    known = {**document.get("versions", {}), **document.get("cost", {})}
    hardware = {key: _whole(known[key]) for key in HARDWARE if key in known}
    versions = {
        key: value
        for key, value in document.get("versions", {}).items()
        if key not in HARDWARE and not (HIDDEN.search(key) or HIDDEN.search(str(value)))
    }
    return {**hardware, "versions": versions}


def command(commands: Sequence[str], seeds: Sequence[int], orders: Sequence[int] = ()) -> str:
    """One shell line that repeats the runs, without absolute paths; a loop where there are several seeds.

    Another one goes over the orders of the labels, where these are given.

    Examples:
        >>> command(["/venv/bin/python -m ibsuite.fit --data.root=/x --seed_everything 0"], [0])
        'python -m ibsuite.fit --seed_everything=0'
    """
    words = _words(commands[0])
    ours = words[:2] == ["python", "-m"]
    if not ours or words[2] in ("ibsuite.switch", "ibsuite.compress"):
        # The seeds are those of the runs that the command names, or in a program of the user's.
        return "; ".join(dict.fromkeys(shlex.join(_words(line)) for line in commands))
    if orders:
        return over_grid(shlex.join(words), seeds, orders)
    if len(seeds) == 1:
        return shlex.join([*words, f"--seed_everything={seeds[0]}"])
    numbers = " ".join(map(str, seeds))
    return f"for seed in {numbers}; do {shlex.join(words)} --seed_everything=$seed; done"


def _words(line: str) -> list[str]:
    """The command's words without its seed, its resumption and whatever only says where data lie."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if not words:
        refuse(f"the run does not say what command made it, but {line!r}; run the experiment again")
    joined: list[str] = []
    many = words[:3] == ["python", "-m", "ibsuite.compress"]
    for word in words:
        # Options of compress take several values each.
        takes = not many or (joined and LEFT_OUT.match(f"{joined[-1]}="))
        if joined and OPTION.fullmatch(joined[-1]) and not word.startswith("--") and takes:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    kept = [_relative(word) for word in joined if not LEFT_OUT.match(word)]
    for position, word in enumerate(kept[:2]):
        if word.startswith("ibsuite/"):  # started as a script, or recorded as sys.argv
            kept[: position + 1] = ["python", "-m", word.removesuffix(".py").replace("/", ".")]
    return kept


def _relative(word: str) -> str:
    """The word with each absolute path cut down to what the repository knows: configs/..., or a name."""

    def cut(found: re.Match[str]) -> str:
        parts = Path(found[0]).parts
        for room in ("configs", "scripts", "ibsuite"):
            if room in parts[:-1]:
                last = len(parts) - 1 - parts[::-1].index(room)
                return "/".join(parts[last:])
        return parts[-1].lstrip("/")

    return ABSOLUTE.sub(cut, word)


def _whole(value: Any) -> Any:
    """A count as an integer, whether it was kept as 2.0 or "2"; anything else as it is."""
    return int(float(value)) if re.fullmatch(r"\d+(\.0)?", str(value)) else value


def _architecture(runs: Sequence[Run]) -> dict[str, Any]:
    """Widths of the full network, and of the small one for each seed, where one was compressed."""
    found = [run.compression["architecture"] for run in runs if run.compression is not None]
    return (
        {"architecture": {"full": found[0]["full"], "small": [each["small"] for each in found]}}
        if found
        else {}
    )


def _measured(run: Run) -> dict[str, float]:
    """Every number of one run by its name with unit, in the order of a bill.

    Where a network was compressed, the test figures are those of the small one, fine-tuned; what the code
    sends is its quantised form, whose test figures say so.
    """
    document, compression = run.document, run.compression
    charges = {f"{name}_bits": bits for name, bits in document["charges"].items()}
    compared = document.get("compared", {})
    test = document.get("test") or {}
    cost = {key: value for key, value in document.get("cost", {}).items() if key not in HARDWARE}
    found = {**{key: document.get(key) for key in LENGTHS}, **charges, **compared}
    tested = {}
    if "accuracy" in test:
        tested["test_accuracy_percent"] = 100 * test["accuracy"]
        tested["test_error_percent"] = 100 * (1 - test["accuracy"])
    if "accuracy_mean" in test:
        tested["test_accuracy_mean_percent"] = 100 * test["accuracy_mean"]
    if "nll_bits" in test:
        tested["test_nll_bits"] = test["nll_bits"]
    if run.validation_error_percent is not None and compression is None:
        tested["validation_error_percent"] = run.validation_error_percent
    if compression is not None:
        tested = {
            **compressed_numbers(compression),
            **{f"quantised_{key}": value for key, value in tested.items()},
        }
    if run.bottleneck is not None:
        tested = {**tested, **bottleneck_numbers(run.bottleneck)}
    if run.robustness is not None:
        tested = {**tested, **robustness_numbers(run.robustness)}
    found.update(tested)
    found.update(cost)
    found.update(curve_numbers(run))
    return {key: value for key, value in found.items() if type(value) in (int, float)}
