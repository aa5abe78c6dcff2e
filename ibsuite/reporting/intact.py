"""Whether a run folder holds what a run writes: what was cut or half-written is told in one sentence."""

import math
import types
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ibsuite import record
from ibsuite.refusal import Refusal
from ibsuite.reporting.runs import Run, load_run, refuse

AGAIN = "run the experiment again"
COUNTED = ("num_labels", "num_classes")
NUMBERS = ("cumulative_bits", "uniform_bits", "bits_per_label", "ratio", "accuracy")
BESIDE = {
    "compression": (record.COMPRESSION, record.Compression),
    "bottleneck": (record.BOTTLENECK, record.Bottleneck),
}
TABLES = (record.CURVE, record.TUNING, record.INFORMATION)
ARRAYS = (record.LABELS, record.REPRESENTATION, record.EMBEDDING)
SIZES = ("full", "small")
ERRORS = ("removed", "finetuned")
GATE = {"name": str, "units": int, "kept": int}
BOUNDS = ("rate_bits", "distortion_bits", "mi_zx_upper_bits", "mi_zy_lower_bits", "error_one_draw_percent",
          "error_percent")  # fmt: skip


def intact_runs(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs that can be reported, and a sentence for each of the others."""
    runs, said = [], []
    for path in paths:
        try:
            runs.append(intact_run(path))
        except Refusal as refusal:
            said.append(str(refusal))
    return runs, said


def intact_run(path: Path) -> Run:
    """Read a finished run with everything that a report looks at, and check it.

    Raises:
        Refusal: The run is unfinished, or one of its files does not hold what a run writes.
    """
    try:
        run = load_run(path)
        _check_codelength(run.document, path / record.CODELENGTH)
        for name, (file, schema) in BESIDE.items():
            document = getattr(run, name)
            if document is not None:
                _check(document, schema, path / file)
        _check_compression(run.compression, path / record.COMPRESSION)
        _check_bottleneck(run.bottleneck, path / record.BOTTLENECK)
        assert run.recipe is not None  # read now, so that it is refused here
        tables = {name: _table(path / name) for name in TABLES if (path / name).is_file()}
        _check_curves(run, tables)
    except OSError as error:
        refuse(f"{error.filename or path} cannot be read: {error.strerror or error}")
    for name in ARRAYS:
        if (path / name).is_file() and not zipfile.is_zipfile(path / name):
            refuse(f"{path / name} is cut or damaged; {AGAIN}")
    return run


def _check_codelength(document: Mapping[str, Any], path: Path) -> None:
    _check(document, record.Codelength, path)
    data, parts = document["data"], document["parts"]
    if not isinstance(data.get("name"), str) or not all(
        type(data.get(key)) is int and data[key] > 0 for key in COUNTED
    ):
        refuse(f"{path}: data must have a name and whole numbers num_labels and num_classes; {AGAIN}")
    if document["test"] and "accuracy" not in document["test"]:
        refuse(f"{path}: test has no accuracy; {AGAIN}")
    for part in parts:
        if part.keys() != parts[0].keys() or not all(_fits(v, float | str | None) for v in part.values()):
            refuse(f"{path}: parts are not rows of one table; {AGAIN}")
        if any(not _fits(part.get(key, 0.0), float) for key in NUMBERS):
            refuse(f"{path}: one of {', '.join(NUMBERS)} of a part is not a number; {AGAIN}")
        if not (_fits(part.get("bits"), float) and all(type(part.get(k)) is int for k in ("start", "stop"))):
            refuse(f"{path}: a part has no start, stop or bits; {AGAIN}")
    try:
        written = record.Codelength(**{each.name: document[each.name] for each in fields(record.Codelength)})
    except ValueError as error:
        refuse(f"{path}: {error}; {AGAIN}")
    if written.uniform_bits <= 0:
        refuse(f"{path}: uniform_bits must be positive; {AGAIN}")
    for name, value in written.as_dict().items():
        wanted = document.get(name)
        agrees = wanted is not None and _fits(wanted, float) and math.isclose(value, wanted)
        if isinstance(value, float) and not agrees:
            refuse(f"{path}: {name} does not follow from the other numbers; {AGAIN}")


def _check_compression(document: Mapping[str, Any] | None, path: Path) -> None:
    if document is None:
        return
    for name in ("architecture", "weights", "activations", "macs", "file_bytes", "latency_seconds"):
        if not all(size in document[name] for size in SIZES):
            refuse(f"{path}: {name} needs full and small; {AGAIN}")
    for name in ("validation_error_percent", "test_error_percent"):
        if document[name] is not None and not all(key in document[name] for key in ERRORS):
            refuse(f"{path}: {name} needs removed and finetuned; {AGAIN}")
    latency = document["latency_seconds"]
    if latency["full"].keys() != latency["small"].keys():
        refuse(f"{path}: latency_seconds are of different batches; {AGAIN}")
    for name in ("r_w_percent", "r_n_percent"):
        if not _fits(document.get(name), float):
            refuse(f"{path}: {name} is not a number; {AGAIN}")
    for gate in document["gates"]:
        fits = all(_fits(gate.get(key), hint) for key, hint in GATE.items())
        if not fits or not _fits(gate.get("mi_upper_bits", ""), float | None) or gate["units"] <= 0:
            refuse(f"{path}: a gate lacks name, units, kept or mi_upper_bits; {AGAIN}")


def _check_bottleneck(document: Mapping[str, Any] | None, path: Path) -> None:
    for split in ("train", "validation", "test") if document else ():
        figures = (document or {})[split]
        if figures and not all(name in figures for name in BOUNDS):
            refuse(f"{path}: {split} lacks one of {', '.join(BOUNDS)}; {AGAIN}")


def _check_curves(run: Run, tables: Mapping[str, list[dict[str, Any]]]) -> None:
    """What ``python -m ibsuite.compress`` writes: a row for every setting, with its size and readings."""
    if "compress.network" not in run.recipe:
        return
    path = run.path / record.CURVE
    rows, wanted = tables.get(record.CURVE, []), run.recipe.get("compress.settings")
    named = all(isinstance(run.recipe.get(f"compress.{name}"), str) for name in ("method", "objective"))
    if not named or not isinstance(wanted, list) or not isinstance(run.recipe.get("experiment"), str):
        refuse(f"{run.path / record.CONFIG} does not say what was compressed, and how; {AGAIN}")
    splits = [s for s in ("test", "validation", "train") if all(f"{s}_nll_bits" in row for row in rows)]
    needed = [
        "model_bits",
        "total_bits",
        *(f"{s}_{name}" for s in splits for name in ("nll_bits", "accuracy")),
    ]
    whole = all(type(row.get(key)) is float for row in rows for key in needed)
    settings = all(
        type(row.get(key)) is float for row, each in zip(rows, wanted, strict=False) for key in each
    )
    if len(rows) != len(wanted) or not rows or not splits or not whole or not settings:
        refuse(f"{path} does not have sizes and readings of all {len(wanted)} settings; {AGAIN}")


def _table(path: Path) -> list[dict[str, Any]]:
    """A table whose last line is whole, and of whose columns each holds numbers or words."""
    if not path.read_bytes().endswith(b"\n"):
        refuse(f"{path} is empty or ends in the middle of a line; {AGAIN}")
    try:
        rows = record.read_csv(path)
    except ValueError as error:
        refuse(f"{error}; {AGAIN}")
    for column in rows[0] if rows else ():
        if len({type(row[column]) for row in rows} - {type(None)}) > 1:
            refuse(f"{path}: not every {column} is a number; {AGAIN}")
    return rows


def _check(document: Mapping[str, Any], schema: type, path: Path) -> None:
    """Refuse a document that lacks a field of the schema, or has one of another type."""
    for name, hint in get_type_hints(schema).items():
        if name not in document:
            refuse(f"{path} has no {name}; {AGAIN}")
        if not _fits(document[name], hint):
            refuse(f"{path}: {name} is not what a run writes; {AGAIN}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of a type; a float is any finite number."""
    if hint is Any:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(each, get_args(hint)[1]) for each in value.values())
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(each, get_args(hint)[0]) for each in value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint
