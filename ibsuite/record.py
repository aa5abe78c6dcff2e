"""The run folder: the names of its files, and the schema of ``codelength.json``.

Everything that is read after a run is read from this folder, so whoever writes or reads it does
so by these names.
"""

import csv
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ibsuite import __version__

SCHEMA = 1
CONFIG = "config.yaml"
SOURCE = "source.yaml"
CODELENGTH = "codelength.json"
INPUTS = "inputs.json"
COMPRESSION = "compression.json"
BOTTLENECK = "bottleneck.json"
REPRESENTATION = "representation.npz"
ROBUSTNESS = "robustness.json"
INFORMATION = "information.csv"
EMBEDDING = "embedding.npz"
NETWORK = "network"
BLOCKS = "blocks"
PRICED = "priced.safetensors"
LABELS = "labels.npz"
CURVE = "curve.csv"
TUNING = "tuning.csv"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
LAST = "checkpoints/last.ckpt"
FINAL = "checkpoints/final.ckpt"
FIGURES = "figures"
MESSAGE = "message"
WEIGHTS = "message/weights.bin"
DECODED = "decoded"
LABEL_STREAM = "message/labels.bin"
MANIFEST = "message/manifest.json"
TRIAL = "IBSUITE_TRIAL"
"""Variable of the environment: the file into which a trial of a sweep writes its run folder."""

CODES = (
    "uniform",
    "two_part",
    "network_compression",
    "subspace",
    "variational",
    "prequential",
    "switch",
    "self_switch",
)


@dataclass(kw_only=True)
class Codelength:
    """A description length in bits with everything that it is made of (``codelength.json``)."""

    code: str
    """Which code: one of ``CODES``."""
    data: dict[str, Any]
    """name, num_labels, num_classes, order_seed, order_sha256, labels_sha256."""
    uniform_bits: float
    """n log2 K."""
    class_frequency_bits: float
    """The adaptive (Krichevsky-Trofimov) code of the labels without the inputs."""
    empirical_entropy_bits: float
    """n times the entropy of the label frequencies: what the best code without inputs could hope for."""
    charges: dict[str, float]
    """Named parts of the total, in bits."""
    compared: dict[str, float] = field(default_factory=dict)
    """What other readings of the run would give; never a headline."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """start, stop, bits, ... of each block; together they cover every label once."""
    standard_error_bits: float | None = None
    """Monte-Carlo standard error of the total, where it is an average over draws."""
    measured_bits: int | None = None
    """8 x bytes of the real message, where one was written."""
    manifest_bits: int | None = None
    model_information_bits: float | None = None
    """Total minus the label bits under the final model trained on all labels."""
    test: dict[str, float] | None = None
    """accuracy, nll_bits of the final model on the test split."""
    cost: dict[str, float] = field(default_factory=dict)
    """seconds, optimiser_steps, samples_seen, peak_memory_bytes, devices."""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    git_commit: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown code {self.code!r}; known are {', '.join(CODES)}")
        broken = [name for name, bits in self.charges.items() if not math.isfinite(bits)]
        if broken:
            raise ValueError(f"charge {broken[0]!r} is not finite")
        stop = 0
        for part in self.parts:
            if part["start"] != stop or part["stop"] <= stop:
                raise ValueError(f"parts leave a gap or overlap at label {stop}")
            stop = part["stop"]
        if self.parts and stop != self.data["num_labels"]:
            raise ValueError(f"parts end at label {stop} of {self.data['num_labels']}")

    @property
    def total_bits(self) -> float:
        """The description length, bits: the sum of all charges."""
        return math.fsum(self.charges.values())

    @property
    def compression_ratio(self) -> float:
        """Total over uniform: 1 means that nothing was gained."""
        return self.total_bits / self.uniform_bits

    @property
    def mutual_information_bits_per_label(self) -> float:
        """(n H(Y) - total) / n: the lower estimate of I(X;Y) that any code gives, bits a label.

        H(Y) is that of the label frequencies, which in expectation is no more than the true one;
        log2 K in its place would count what unbalanced classes save as information.
        """
        return (self.empirical_entropy_bits - self.total_bits) / float(self.data["num_labels"])

    def as_dict(self) -> dict[str, Any]:
        """The document as it is written."""
        document: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        document["total_bits"] = self.total_bits
        document["compression_ratio"] = self.compression_ratio
        document["mutual_information_bits_per_label"] = self.mutual_information_bits_per_label
        return document


@dataclass(kw_only=True)
class Compression:
    """What was left of a network and what that costs to run (``compression.json``); before: unpruned."""

    architecture: dict[str, str]
    """full, small: widths behind the input, layer by layer, ``784-300-100``."""
    weights: dict[str, int]
    """full, small: entries of weight matrices and kernels, no biases."""
    activations: dict[str, int]
    """full, small: floats at run time: maps, pools, features and hidden units, neither image nor output."""
    macs: dict[str, int]
    """full, small: multiply-accumulates for one input."""
    file_bytes: dict[str, int]
    """full, small: of the saved network, its description included."""
    latency_seconds: dict[str, dict[str, float]]
    """full, small: seconds of one call, undisturbed, by batch size, on the device and threads of the run."""
    max_logit_difference: float
    """Between the masked network and the one from which the units were removed, over inputs of the run."""
    validation_error_percent: dict[str, float] | None
    """removed, finetuned: on labels that were held out of the training; null where none were."""
    test_error_percent: dict[str, float] | None
    """removed, finetuned: on the test split; null where there is none."""
    gates: list[dict[str, Any]]
    """name, units, kept, positions, rate_bits, mi_upper_bits (null for channels), log_alpha: {edges, counts}.
    """

    @property
    def r_w_percent(self) -> float:
        """Surviving weights, percent."""
        return 100 * self.weights["small"] / self.weights["full"]

    @property
    def r_n_percent(self) -> float:
        """Surviving activations, percent."""
        return 100 * self.activations["small"] / self.activations["full"]

    def as_dict(self) -> dict[str, Any]:
        """The document as it is written."""
        shares = {"r_w_percent": self.r_w_percent, "r_n_percent": self.r_n_percent}
        return {"schema": SCHEMA, **shares, **asdict(self)}


@dataclass(kw_only=True)
class Bottleneck:
    """A stochastic representation in the information plane (``bottleneck.json``), as it was described.

    Each split has rate_bits, distortion_bits, mi_zx_upper_bits and mi_zy_lower_bits, bits a label, and
    error_one_draw_percent and error_percent, of one draw and of the mean prediction over the draws; with a
    backward encoder also mi_zx_given_y_upper_bits.
    """

    beta: float
    """Weight of the rate against the distortion; of a limited rate the multiplier that was reached."""
    train: dict[str, float]
    """Over the labels that were trained on."""
    validation: dict[str, float] | None
    """Over labels that were held out of the training; null where none were."""
    test: dict[str, float] | None
    """Over the test split; null where there is none."""

    def as_dict(self) -> dict[str, Any]:
        """The document as it is written."""
        return {"schema": SCHEMA, **asdict(self)}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` so that ``path`` holds either the old or the whole new text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def announce(run: Path) -> None:
    """Tell the sweep that has started this process which run folder it writes, if there is one."""
    if TRIAL in os.environ:
        Path(os.environ[TRIAL]).write_text(str(run))


def write_codelength(run: Path, codelength: Codelength) -> None:
    """Write ``codelength.json`` into the run folder."""
    write_json(run / CODELENGTH, codelength.as_dict())


def read_codelength(run: Path) -> dict[str, Any]:
    """Read ``codelength.json`` of a finished run; FileNotFoundError where it is unfinished."""
    return _read(run / CODELENGTH)


def _read(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, not {SCHEMA}")
    return dict(document)


def write_inputs(run: Path, document: Mapping[str, Any]) -> None:
    """Write ``inputs.json`` into the run folder: what its network takes, and how raw inputs become that.

    num_classes, classes (what each label stands for; null where it is a number), and the shape and
    constants of ``LabelledData.preparation``.
    """
    write_json(run / INPUTS, {"schema": SCHEMA, **document})


def read_inputs(run: Path) -> dict[str, Any]:
    """Read ``inputs.json`` of a finished run; else FileNotFoundError."""
    return _read(run / INPUTS)


def write_compression(run: Path, compression: Compression) -> None:
    """Write ``compression.json`` into the run folder."""
    write_json(run / COMPRESSION, compression.as_dict())


def read_compression(run: Path) -> dict[str, Any]:
    """Read ``compression.json`` of a run that compressed a network; FileNotFoundError where it did not."""
    return _read(run / COMPRESSION)


def write_bottleneck(run: Path, bottleneck: Bottleneck) -> None:
    """Write ``bottleneck.json`` into the run folder."""
    write_json(run / BOTTLENECK, bottleneck.as_dict())


def read_bottleneck(run: Path) -> dict[str, Any]:
    """Read ``bottleneck.json`` of a run with a stochastic representation; else FileNotFoundError."""
    return _read(run / BOTTLENECK)


def write_robustness(run: Path, document: Mapping[str, Any]) -> None:
    """Write ``robustness.json`` into the run folder: errors under attack.

    split, inputs, beta (null where there is none), steps of the attack, ``attacks`` by their names
    (fgsm_linf, pgd_linf, fgsm_l2, pgd_l2), each with lists epsilon and error_percent, and where it was made
    ``carlini_wagner_l2``: inputs, success_percent and the mean lengths of the changes that succeeded.
    """
    write_json(run / ROBUSTNESS, {"schema": SCHEMA, **document})


def read_robustness(run: Path) -> dict[str, Any]:
    """Read ``robustness.json`` of a run that was attacked; else FileNotFoundError."""
    return _read(run / ROBUSTNESS)


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a table with a header; what a row does not have stays empty."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=columns)
        table.writeheader()
        table.writerows(rows)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Read a table back; numbers as floats.

    Raises:
        ValueError: it is no table of text, or a line has more or fewer cells than the header.
    """

    def parsed(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text or None

    try:
        with path.open(newline="") as file:
            header, *lines = [line for line in csv.reader(file) if line] or [[]]
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path} is not a table of text") from None
    wrong = [place for place, line in enumerate(lines, 2) if len(line) != len(header)]
    if wrong:
        raise ValueError(f"{path} has another number of cells than its header in line {wrong[0]}")
    return [{key: parsed(text) for key, text in zip(header, line, strict=True)} for line in lines]


def provenance() -> dict[str, Any]:
    """Command, commit, versions and cores of this process: fields of ``Codelength``."""
    packages = ("torch", "lightning", "torchmetrics", "numpy", "scikit-learn", "constriction")
    # Of an editable installation the metadata are as old as the installation.
    versions = {"ibsuite": __version__, **{name: _version(name) for name in packages}}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions |= {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    versions |= {"cores": str(cores)}
    program = Path(sys.argv[0])
    ours = Path(__file__).with_name(f"{program.stem}.py").is_file()
    started = ["-m", f"ibsuite.{program.stem}"] if ours else [program.name]
    return {
        "versions": versions,
        "command": shlex.join(["python", *started, *sys.argv[1:]]),
        "git_commit": _git_commit(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _git_commit() -> str | None:
    """The commit of the clone that this code runs from, with ``+changes`` if it was edited since."""
    clone = str(Path(__file__).parent.parent)
    if not Path(clone, ".git").exists():  # installed from a wheel
        return None
    try:
        head = subprocess.run(
            ["git", "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        edited = ["git", "-C", clone, "status", "--porcelain", "--untracked-files=no"]
        changes = subprocess.run(edited, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
