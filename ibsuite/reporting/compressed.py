"""What is left of compressed networks: sizes, errors and times, as a table and as figures by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from ibsuite.figures import Compressed
from ibsuite.reporting.formats import (
    MISSING,
    broken,
    format_count,
    format_latencies,
    format_number,
    format_size,
    mean_std,
)
from ibsuite.reporting.published_networks import PublishedNetwork, published_networks
from ibsuite.reporting.runs import Run, by_seed
from ibsuite.reporting.table import plain_table

NAME_WIDTH = 20
"""What 80 columns leave beside the numbers."""
SPLITS = ("test", "validation")
NOTES = (
    "r_W: surviving weights without biases; r_N: surviving activations at run time; MACs: "
    "multiply-accumulates for one input.",
    "Error: on the test split, or (v) on held-out labels where there is none; when the units had been "
    "removed, and after fine-tuning.",
    "Latency: time of one undisturbed call, full → small network, on the device and threads of the run.",
)


def compressed_numbers(document: Mapping[str, Any]) -> dict[str, float]:
    """Sizes, errors in percent and times in seconds of a small network by their names with unit.

    Args:
        document: ``compression.json``.
    """
    found = {"r_w_percent": document["r_w_percent"], "r_n_percent": document["r_n_percent"]}
    found |= {name: document[name]["small"] for name in ("weights", "activations", "macs", "file_bytes")}
    for split in SPLITS:
        error = document[f"{split}_error_percent"]
        if error is not None:
            found[f"{split}_error_removed_percent"] = error["removed"]
            found[f"{split}_error_percent"] = error["finetuned"]
    for which, times in document["latency_seconds"].items():
        found |= {f"latency_{which}_batch_{batch}_seconds": seconds for batch, seconds in times.items()}
    return found


def first_hidden_gate(gates: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first gate that does not stand on the input, whose information is that of the first hidden layer.

    On the input stands a gate at the place ``input``, or behind a flattening with which the network
    begins: it is the first gate, and the last part of its name is 0 (``layers.0``).

    Args:
        gates: of ``compression.json``.
    """
    on_input = bool(gates) and gates[0]["name"].split(".")[-1] in ("input", "0")
    return next(iter(gates[on_input:]), None)


def tradeoff_settings(runs: Sequence[Run]) -> dict[str, list[list[Compressed]]]:
    """The compressed networks of every experiment: its settings, and the seeds of each."""
    experiments: dict[str, list[list[Compressed]]] = {}
    for group in by_seed([run for run in runs if run.compression is not None]):
        experiments.setdefault(group[0].experiment, []).append([_point(run) for run in group])
    return experiments


def tradeoff_printed(runs: Sequence[Run]) -> dict[str, Compressed]:
    """The poster's own networks by their names in a legend, where its tables are about the runs' networks."""
    printed = {}
    for run in runs:
        for row in published_networks(run.document, run.compression) if run.compression else ():
            if row.method == "VIBNet" and row.numbers is not None:
                printed[f"published: {row.source.split(';')[0]}"] = Compressed(*row.numbers)
    return printed


def compressed_tables(runs: Sequence[Run]) -> list[tuple[Table, list[str]]]:
    """A table and its notes for each full network of which runs have made smaller ones."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.compression is not None:
            key = (run.document["data"]["name"], run.compression["architecture"]["full"])
            groups.setdefault(key, []).append(run)
    return [_table(f"{data}, what is left of {full}", members) for (data, full), members in groups.items()]


def _point(run: Run) -> Compressed:
    document = run.compression or {}
    values = compressed_numbers(document)
    gate = first_hidden_gate(document["gates"])
    return Compressed(
        values["r_w_percent"],
        values["macs"],
        values.get("test_error_percent"),
        values.get("validation_error_percent"),
        None if gate is None else gate["mi_upper_bits"],
    )


def _table(title: str, runs: Sequence[Run]) -> tuple[Table, list[str]]:
    table = plain_table(title)
    table.add_column("run\n  widths left", no_wrap=True)
    first = runs[0].compression or {}
    batches = list(first["latency_seconds"]["full"])
    latency = "\n".join(f"latency of {batch}" for batch in batches)
    for header in ("r_W %\nr_N %", "MACs\nfile", "error %:\nremoved\nfine-tuned", latency):
        table.add_column(header, justify="right", no_wrap=True)
    groups = by_seed(runs)
    for group in groups:
        table.add_section()
        before = groups[groups.index(group) - 1][0].experiment if groups.index(group) else None
        if group[0].experiment != before:
            table.add_row(broken(group[0].experiment, NAME_WIDTH), style="italic")
        for run in group:
            widths = (run.compression or {})["architecture"]["small"]
            table.add_row(_named(run.name, widths), *_cells([run], batches))
        if len(group) > 1:
            table.add_row(f"  {len(group)} seeds,\n  mean ± std", *_cells(group, batches), style="bold")
    printed = published_networks(runs[0].document, first)
    marks = {source: f"[{i + 1}]" for i, source in enumerate(dict.fromkeys(row.source for row in printed))}
    if printed:
        table.add_section()
    for row in printed:
        table.add_row(
            _named(f"{row.method} {marks[row.source]}", row.architecture or ""), *_printed(row), style="dim"
        )
    sources = "; ".join(f"{mark} {source}" for source, mark in marks.items())
    return table, [*NOTES, *([f"Published, with one error each: {sources}."] if sources else [])]


def _named(name: str, widths: str) -> str:
    """A name and below it, indented, widths on as many lines as they take."""
    lines = [name, *(f"  {line}" for line in broken(widths, NAME_WIDTH - 4).splitlines())]
    return "\n".join(f"  {line}" for line in lines)


def _cells(runs: Sequence[Run], batches: Sequence[str]) -> list[str]:
    """Means over the runs, with standard deviations where there are several."""
    values = [compressed_numbers(run.compression or {}) for run in runs]

    def written(key: str, write: Callable[..., str]) -> str:
        return write(*mean_std([each[key] for each in values]))

    def percent(value: float, std: float | None) -> str:
        return format_number(value, std, 2)

    split = next((each for each in SPLITS if all(f"{each}_error_percent" in v for v in values)), None)
    error = f"{MISSING}\n{MISSING}"
    if split is not None:
        mark = "" if split == "test" else " v"
        keys = (f"{split}_error_removed_percent", f"{split}_error_percent")
        error = "\n".join(written(key, percent) + mark for key in keys)
    latency = "\n".join(
        format_latencies(
            *(mean_std([each[f"latency_{which}_batch_{batch}_seconds"] for each in values])[0]
              for which in ("full", "small"))
        )
        for batch in batches
    )  # fmt: skip
    return [
        f"{written('r_w_percent', percent)}\n{written('r_n_percent', percent)}",
        f"{written('macs', format_count)}\n{written('file_bytes', format_size)}",
        error,
        latency,
    ]


def _printed(row: PublishedNetwork) -> list[str]:
    return [
        f"{row.r_w or MISSING}\n{row.r_n or MISSING}",
        f"{row.macs or MISSING}\n{row.file_bytes or MISSING}",
        f"{MISSING}\n{row.error}",
        MISSING,
    ]
